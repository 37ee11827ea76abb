//! The relaxed masks of concrete dropout: how often they are nearer to 0, and the uniform numbers that they come from.

use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{NoiseShape, concrete_dropout};

use crate::common::{device, float};
use crate::deviates::distance_from_uniform;
use crate::examination::{Findings, correlations, finding};
use crate::trial::{Forward, assert_verdicts, mutant, once, unscaled};
use crate::{PROBABILITIES, claim, seeded};

const SIZE: [i64; 3] = [64, 128, 128];

const TEMPERATURE: f64 = 0.5;

fn relaxed(p: f64, seed: Option<u64>) -> impl Fn(&Tensor) -> Tensor {
    let vs = nn::VarStore::new(device());
    let mut layer = concrete_dropout(vs.root(), p).unwrap().with_temperature(TEMPERATURE).unwrap();
    if let Some(seed) = seed {
        layer = layer.with_seed(seed);
    }
    move |x| tch::no_grad(|| layer.forward_t(x, true))
}

/// 1 where more than half of an element is kept, which is so with probability `1 - p` at any temperature.
fn rounded(p: f64, forward: impl Fn(&Tensor) -> Tensor) -> impl Fn(&Tensor) -> Tensor {
    move |x| x * (forward(&x.ones_like()) * (1.0 - p)).round()
}

/// The uniform numbers of the paper's formula.
fn uniform(p: f64, forward: &Forward) -> Findings {
    let kept = forward(&Tensor::ones(SIZE, float())).to_kind(Kind::Double) * (1.0 - p);
    let dropped: Tensor = 1.0 - &kept;
    let u = (dropped.clamp(0.0, 1.0).logit(None) * TEMPERATURE - (p / (1.0 - p)).ln()).sigmoid();
    // Masks that f32 rounds to 0 or 1 tell no number.
    let is_told = kept.gt(1e-6).logical_and(&kept.lt(1.0 - 1e-6));
    let (least, largest) = (u.masked_select(&is_told).min(), u.masked_select(&is_told).max());
    let told = (u.masked_select(&is_told) - &least) / (largest - least);
    let dependence = correlations(&((u.clamp(0.0, 1.0) - 0.5) * 12f64.sqrt()).unsqueeze(0));
    let all = [("distance from uniform numbers".to_owned(), distance_from_uniform(&told).max(0.0))];
    all.into_iter()
        .chain(dependence.into_iter().filter(|(name, _)| !name.contains("forwards")))
        .filter_map(|(what, z)| finding(&what, z))
        .collect()
}

fn examine(p: f64, forward: &Forward) -> Findings {
    let claim = claim::<false>(p, &NoiseShape::Elements, &SIZE);
    let mut findings = claim.examine(rounded(p, forward));
    findings.extend(uniform(p, forward));
    findings
}

#[test]
fn concrete_dropout_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for p in PROBABILITIES {
        let layers = [None, Some(seed as u64)].map(|seed| -> (String, Forward) {
            ("ConcreteDropout".into(), Box::new(relaxed(p, seed)))
        });
        assert_verdicts(|forward| examine(p, forward), layers, []);
    }
}

#[test]
fn mutants_of_concrete_dropout_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    /// From what stands for the logistic number.
    fn of(noise: Tensor, p: f64, temperature: f64) -> Tensor {
        ((noise + (p / (1.0 - p)).ln()) / -temperature).sigmoid() / (1.0 - P)
    }
    let logistic = |x: &Tensor| x.rand_like().logit(1e-7);
    let shared = |x: &Tensor| unscaled(0.5, NoiseShape::Samples)(x);
    let mutants = [
        mutant("p and 1 - p swapped", "keep rate", move |x| of(logistic(x), 1.0 - P, TEMPERATURE)),
        mutant("a normal number in place of a logistic one", "keep rate", |x| {
            of(x.randn_like(), P, TEMPERATURE)
        }),
        mutant("a normal number of the same variance", "distance", |x| {
            of(x.randn_like() * (std::f64::consts::PI / 3f64.sqrt()), P, TEMPERATURE)
        }),
        mutant("another temperature", "distance", move |x| of(logistic(x), P, TEMPERATURE * 1.2)),
        mutant("one number for two rows", "correlation over dimension 0", move |x| {
            let half = logistic(&x.narrow(0, 0, 32));
            of(Tensor::stack(&[&half, &half], 1).flatten(0, 1), P, TEMPERATURE)
        }),
        mutant(
            "one mask for all steps",
            "correlation over forwards",
            once(move |x| of(logistic(x), P, TEMPERATURE), &SIZE),
        ),
        mutant("rows that are half dropped", "correlation", move |x| {
            of(logistic(x) + shared(x) * 0.2 - 0.1, P, TEMPERATURE)
        }),
    ];
    assert_verdicts(|forward| examine(P, forward), [], mutants);
}
