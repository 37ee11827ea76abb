//! The samples, or batches, whose residual branch runs.

use tch::{Kind, Tensor};
use tch_dropout::{NoiseShape, StochasticDepth};

use crate::common::float;
use crate::examination::Claim;
use crate::trial::{Forward, assert_verdicts, dropped, mutant, once, unscaled};
use crate::{claim, seeded};

const SIZE: [i64; 2] = [1 << 16, 2];

/// As many batches, each a row.
const BATCHES: [i64; 2] = [2048, 2];

const FORWARDS: i64 = 16;

fn of_samples(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Samples, &SIZE)
}

/// What is added to `x` where the branch is `x` itself.
fn added(layer: &StochasticDepth, x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Double);
    layer.forward(&x, Tensor::shallow_clone, true) - x
}

fn by_sample(layer: StochasticDepth) -> (String, Forward) {
    (layer.to_string(), Box::new(move |x| added(&layer, x)))
}

/// Each row by itself is a batch.
fn by_batch(layer: StochasticDepth) -> (String, Forward) {
    let forward = move |x: &Tensor| {
        let all: Vec<Tensor> = x.split(1, 0).iter().map(|batch| added(&layer, batch)).collect();
        Tensor::cat(&all, 0)
    };
    ("StochasticDepth, batch".into(), Box::new(forward))
}

#[test]
fn stochastic_depth_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for p in [0.1, 0.3, 0.8] {
        let new = || StochasticDepth::new(p).unwrap();
        let layers = [new(), new().with_seed(seed as u64)].map(by_sample);
        assert_verdicts(|forward| of_samples(p).examine_over(FORWARDS, forward), layers, []);
    }
    let p = 0.3;
    let new = || StochasticDepth::batch(p).unwrap();
    let layers = [new(), new().with_seed(seed as u64)].map(by_batch);
    let rows = claim::<true>(p, &NoiseShape::Samples, &BATCHES);
    assert_verdicts(|forward| rows.examine_over(FORWARDS, forward), layers, []);
}

/// The mask of `k` samples, chosen at random.
fn exactly(k: i64) -> Tensor {
    let order = Tensor::randperm(SIZE[0], (Kind::Int64, float().1));
    Tensor::zeros([SIZE[0], 1], float()).index_fill(0, &order.narrow(0, 0, k), 1.0)
}

#[test]
fn mutants_of_stochastic_depth_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    let samples = |p| dropped(p, NoiseShape::Samples);
    let kept = |x: &Tensor| unscaled(P, NoiseShape::Samples)(&x.narrow(1, 0, 1).ones_like());
    let values = "values other than";
    let mutants = [
        mutant("p and 1 - p swapped", values, samples(1.0 - P)),
        mutant("p and 1 - p swapped, but for the scale", "keep rate", move |x| {
            samples(1.0 - P)(x) * (P / (1.0 - P))
        }),
        mutant("not rescaled", values, move |x| x * kept(x)),
        mutant("rescaled by 1 / p", values, move |x| x * kept(x) / P),
        mutant("rescaled by what was kept in this batch", values, move |x| {
            let kept = kept(x);
            x * &kept / kept.mean(None)
        }),
        mutant(
            "one draw for the batch",
            "correlation over dimension 0",
            dropped(P, NoiseShape::Batch),
        ),
        mutant("each element by itself", "groups", dropped(P, NoiseShape::Elements)),
        mutant("one draw for all steps", "correlation over forwards", once(samples(P), &SIZE)),
        mutant("a fixed number of samples", "spread of the rate", |x| {
            let k = (SIZE[0] as f64 * (1.0 - P)).round();
            x * exactly(k as i64) / (1.0 - P)
        }),
        mutant("the first samples in place of the drawn ones", "rate by place", move |x| {
            x * kept(x).sort(0, true).0 / (1.0 - P)
        }),
    ];
    assert_verdicts(|forward| of_samples(P).examine_over(FORWARDS, forward), [], mutants);
}
