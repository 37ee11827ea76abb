//! One set of checks for every layer, and for layers that are wrong on purpose, which it must catch.
//!
//! `STATISTICS_SEED` gives another seed than the usual one.

mod alpha_dropout;
mod attention;
#[path = "../common/mod.rs"]
mod common;
mod concrete_dropout;
mod deviates;
mod drop_block;
mod drop_connect;
mod examination;
mod gaussian;
mod mutants;
mod patch_dropout;
mod recurrent;
mod stochastic_depth;
mod trial;

use common::alone;
use examination::{Claim, Findings};
use tch::nn::ModuleT;
use tch_dropout::{DropoutLayer, NoiseShape, Stream, apply_mask, column_mask, element_mask};

const NONE: Findings = Vec::new();

const PROBABILITIES: [f64; 3] = [0.1, 0.5, 0.9];

/// Each noise shape with an input for which it draws 2²⁰ times.
fn shapes() -> Vec<(NoiseShape, Vec<i64>)> {
    vec![
        (NoiseShape::Columns, vec![2, 1 << 20, 2]),
        (NoiseShape::Elements, vec![64, 128, 128]),
        (NoiseShape::Channels, vec![1024, 1024, 2]),
        (NoiseShape::Samples, vec![1 << 20, 2]),
        (NoiseShape::Shared(vec![1]), vec![1024, 2, 1024]),
        (NoiseShape::Shared(vec![-1, 0]), vec![2, 2048, 512, 2]),
    ]
}

/// Takes the generator for this test, and seeds it.
fn seeded() -> (impl Drop, i64) {
    let generator = alone();
    let given = std::env::var("STATISTICS_SEED").map(|text| text.parse().expect("a whole number"));
    let seed = given.unwrap_or(1);
    tch::manual_seed(seed);
    (generator, seed)
}

fn claim<const RESCALE: bool>(p: f64, shape: &NoiseShape, size: &[i64]) -> Claim {
    let kept = if RESCALE { 1.0 / (1.0 - p) } else { 1.0 };
    Claim { p, kept, shape: shape.clone(), size: size.to_vec() }
}

fn layers_keep_their_claim<const RESCALE: bool>() {
    let (_generator, seed) = seeded();
    for (shape, size) in shapes() {
        for p in PROBABILITIES {
            let layer = || DropoutLayer::<RESCALE>::new(p).unwrap().with_noise_shape(shape.clone());
            let seeded = layer().with_stream(Stream::new(seed as u64).with_worker(seed as u16));
            for layer in [layer(), seeded] {
                let findings =
                    claim::<RESCALE>(p, &shape, &size).examine(|x| layer.forward_t(x, true));
                assert_eq!(
                    findings,
                    NONE,
                    "{layer}, seed {seed}, step {:?}",
                    layer.stream().map(Stream::step)
                );
            }
        }
    }
}

#[test]
fn dropout_keeps_its_claim() {
    layers_keep_their_claim::<false>();
}

#[test]
fn true_dropout_keeps_its_claim() {
    layers_keep_their_claim::<true>();
}

#[test]
fn the_mask_functions_keep_theirs() {
    let (_generator, seed) = seeded();
    let [columns, elements] = [0, 1].map(|i| shapes().swap_remove(i));
    for p in PROBABILITIES {
        let findings = claim::<false>(p, &columns.0, &columns.1)
            .examine(|x| apply_mask(x, &column_mask(x, p).unwrap()).unwrap());
        assert_eq!(findings, NONE, "column_mask, seed {seed}");
        let findings = claim::<false>(p, &elements.0, &elements.1)
            .examine(|x| apply_mask(x, &element_mask(x, p).unwrap()).unwrap());
        assert_eq!(findings, NONE, "element_mask, seed {seed}");
    }
}

/// If libtorch's own dropout did not pass, the examination would be wrong.
#[test]
fn libtorchs_dropout_passes_too() {
    let (_generator, seed) = seeded();
    for p in PROBABILITIES {
        let elements = claim::<true>(p, &NoiseShape::Elements, &[64, 128, 128]);
        assert_eq!(elements.examine(|x| x.dropout(p, true)), NONE, "seed {seed}");
        let channels = claim::<true>(p, &NoiseShape::Channels, &[1024, 1024, 2]);
        assert_eq!(channels.examine(|x| x.feature_dropout(p, true)), NONE, "seed {seed}");
    }
}
