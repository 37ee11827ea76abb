//! The weights that attention drops, brought out of its output.

use tch::{Kind, Tensor};
use tch_dropout::{Attention, NoiseShape};

use crate::common::device;
use crate::examination::Claim;
use crate::trial::{Forward, assert_verdicts, dropped, mutant, once, rounded, shared};
use crate::{claim, seeded};

/// `[N, heads, queries, keys]`
const SIZE: [i64; 4] = [8, 4, 64, 64];

const FORWARDS: i64 = 16;

fn of_weights(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &SIZE)
}

/// What an attention makes of weights in proportion to `x`, in the place of `x`.
///
/// The values are the keys' places, reflected, so that none stands for a single key. As a reflection is its own
/// inverse, they bring the weights out again.
fn through(attend: impl Fn(&Tensor, &Tensor) -> Tensor, x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Double);
    let options = (Kind::Double, device());
    let keys = SIZE[3];
    let value = Tensor::eye(keys, options) - 2.0 / keys as f64;
    let y = attend(&x.log(), &value.expand(SIZE, false));
    rounded(&(y.matmul(&value) * x.sum_dim_intlist([-1].as_slice(), true, None)))
}

fn layer(layer: Attention) -> (String, Forward) {
    let zeros = Tensor::zeros([8, 4, 64, 1], (Kind::Double, device()));
    let attend =
        move |bias: &Tensor, value: &Tensor| layer.forward(&zeros, &zeros, value, Some(bias), true);
    ("Attention".into(), Box::new(move |x| through(&attend, x)))
}

/// Attention that drops somewhere else.
fn wrong(attend: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> impl Fn(&Tensor) -> Tensor {
    move |x| through(&attend, x)
}

#[test]
fn attention_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for p in [0.1, 0.3, 0.8] {
        let new = || Attention::new(p).unwrap();
        let layers = [new(), new().with_seed(seed as u64)].map(layer);
        assert_verdicts(|forward| of_weights(p).examine_over(FORWARDS, forward), layers, []);
    }
}

#[test]
fn mutants_of_attention_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    let elements = |p| dropped(p, NoiseShape::Elements);
    let softmax = |scores: &Tensor| scores.softmax(-1, None);
    let values = "values other than";
    let mutants = [
        mutant("p and 1 - p swapped", values, elements(1.0 - P)),
        mutant("not rescaled", values, move |x| elements(P)(x) * (1.0 - P)),
        mutant("one mask for all heads", "correlation over dimension 1", shared(P, &[1])),
        mutant("one mask for the batch", "correlation over dimension 0", shared(P, &[0])),
        mutant("whole keys", "correlation over dimension 2", shared(P, &[2])),
        mutant("whole queries", "correlation over dimension 3", shared(P, &[3])),
        mutant("one mask for all steps", "correlation over forwards", once(elements(P), &SIZE)),
        mutant(
            "drops from the scores",
            values,
            wrong(move |bias, value| softmax(&elements(P)(bias)).matmul(value)),
        ),
        mutant(
            "keys that are left out of the softmax, so that the others make up for them",
            values,
            wrong(move |bias, value| {
                softmax(&(bias + elements(P)(&bias.ones_like()).log())).matmul(value)
            }),
        ),
        mutant(
            "drops from the output",
            values,
            wrong(move |bias, value| elements(P)(&softmax(bias).matmul(value))),
        ),
        mutant(
            "drops from the values",
            values,
            wrong(move |bias, value| softmax(bias).matmul(&elements(P)(value))),
        ),
    ];
    assert_verdicts(|forward| of_weights(P).examine_over(FORWARDS, forward), [], mutants);
}
