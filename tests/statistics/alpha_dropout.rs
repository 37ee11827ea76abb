//! What alpha dropout puts in the place of an element, and which ones.

use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{AlphaDropout, NoiseShape};

use crate::trial::{Forward, assert_verdicts, mutant, unscaled};
use crate::{PROBABILITIES, claim, seeded};

/// What SELU tends to, far to the left.
const SATURATION: f64 = -1.758_099_340_847_376_6;

const SIZE: [i64; 3] = [16, 64, 128];

const FORWARDS: i64 = 16;

/// The paper's `a` and `b`: `a (x mask + α' (1 - mask)) + b`.
fn affine(p: f64) -> [f64; 2] {
    let a = ((1.0 - p) * (1.0 + SATURATION * SATURATION * p)).sqrt().recip();
    [a, -a * p * SATURATION]
}

/// What the layer claims, in other words: without `b`, divided by `a` and measured from the saturation, a
/// dropped element is 0, and a kept one the input.
fn from_saturation(p: f64, layer: impl Fn(&Tensor) -> Tensor) -> impl Fn(&Tensor) -> Tensor {
    let [a, b] = affine(p);
    move |x| {
        let y = (layer(&(x + SATURATION)) - (a * SATURATION + b)) / a;
        y.where_self(&y.abs().gt(1e-3), &y.zeros_like()) // What is left of rounding.
    }
}

#[test]
fn alpha_dropout_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for p in PROBABILITIES {
        for (shape, size) in [(NoiseShape::Elements, SIZE), (NoiseShape::Channels, [256, 512, 2])] {
            let new = || AlphaDropout::elements(p).unwrap().with_noise_shape(shape.clone());
            let layers = [new(), new().with_seed(seed as u64)].map(|layer| {
                let name = layer.to_string();
                let forward = from_saturation(p, move |x| layer.forward_t(x, true));
                (name, Box::new(forward) as Forward)
            });
            let claim = claim::<false>(p, &shape, &size);
            assert_verdicts(|forward| claim.examine_over(FORWARDS, forward), layers, []);
        }
    }
}

#[test]
fn mutants_of_alpha_dropout_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    let values = "values other than";
    // With these constants.
    let of = |p: f64, saturation: f64, [a, b]: [f64; 2], shape: NoiseShape| {
        from_saturation(P, move |x| {
            let mask = unscaled(p, shape.clone())(&x.ones_like());
            (x * &mask + (1.0f64 - mask) * saturation) * a + b
        })
    };
    let [a, b] = affine(P);
    let elements = || NoiseShape::Elements;
    let mutants = [
        mutant("p and 1 - p swapped", "keep rate", of(1.0 - P, SATURATION, [a, b], elements())),
        mutant("the constants of 1 - p", values, of(P, SATURATION, affine(1.0 - P), elements())),
        mutant("zeros", values, of(P, 0.0, [a, b], elements())),
        mutant("the saturation of ELU", values, of(P, -1.0, [a, b], elements())),
        mutant("the mean not restored", values, of(P, SATURATION, [a, 0.0], elements())),
        mutant("the variance not restored", values, of(P, SATURATION, [1.0, b / a], elements())),
        mutant("1 / (1 - p) for a", values, of(P, SATURATION, [1.0 / (1.0 - P), b], elements())),
        mutant(
            "whole channels",
            "correlation over dimension 2",
            of(P, SATURATION, [a, b], NoiseShape::Channels),
        ),
        mutant(
            "one mask for the batch",
            "correlation over dimension 0",
            of(P, SATURATION, [a, b], NoiseShape::Shared(vec![0])),
        ),
    ];
    let claim = claim::<false>(P, &NoiseShape::Elements, &SIZE);
    assert_verdicts(|forward| claim.examine_over(FORWARDS, forward), [], mutants);
}
