//! One examination for layers that are right and for mutants of them, which are wrong on purpose.

use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{Dropout, NoiseShape, TrueDropout};

use crate::common::float;
use crate::examination::Findings;

/// A layer, or what stands in for one.
pub type Forward = Box<dyn Fn(&Tensor) -> Tensor>;

/// A mutant: its mistake, how the finding begins that must come of it, and itself.
pub type Mutant = (&'static str, &'static str, Forward);

/// `("its mistake", "the finding", |x| the output)`, as a row of a table.
pub fn mutant(
    mistake: &'static str,
    finding: &'static str,
    forward: impl Fn(&Tensor) -> Tensor + 'static,
) -> Mutant {
    (mistake, finding, Box::new(forward))
}

/// Asserts that the examination finds nothing in each layer, and in each mutant what is wrong with it.
#[track_caller]
pub fn assert_verdicts(
    examine: impl Fn(&Forward) -> Findings,
    layers: impl IntoIterator<Item = (String, Forward)>,
    mutants: impl IntoIterator<Item = Mutant>,
) {
    let mut wrong = Vec::new();
    for (name, layer) in layers {
        let findings = examine(&layer);
        if !findings.is_empty() {
            wrong.push(format!("{name}: {findings:?}"));
        }
    }
    for (mistake, finding, mutant) in mutants {
        let findings = examine(&mutant);
        if !findings.iter().any(|found| found.starts_with(finding)) {
            wrong.push(format!("mutant '{mistake}': expected '{finding}', found {findings:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without what the way out of a layer added by rounding, in f64.
pub fn rounded(y: &Tensor) -> Tensor {
    (y * 1e8).round() / 1e8
}

/// Dropout over any noise shape, which mutants are made of.
pub fn dropped(p: f64, shape: NoiseShape) -> impl Fn(&Tensor) -> Tensor {
    let layer = TrueDropout::new(p).unwrap().with_noise_shape(shape);
    move |x| layer.forward_t(x, true)
}

/// The same with the elements that these dimensions have in common.
pub fn shared(p: f64, dims: &[i64]) -> impl Fn(&Tensor) -> Tensor + use<> {
    dropped(p, NoiseShape::Shared(dims.to_vec()))
}

/// The same, not rescaled.
pub fn unscaled(p: f64, shape: NoiseShape) -> impl Fn(&Tensor) -> Tensor {
    let layer = Dropout::new(p).unwrap().with_noise_shape(shape);
    move |x| layer.forward_t(x, true)
}

/// A mask that is drawn once, and used in every forward.
pub fn once<F>(draw: F, size: &[i64]) -> impl Fn(&Tensor) -> Tensor + use<F>
where
    F: Fn(&Tensor) -> Tensor,
{
    let mask = draw(&Tensor::ones(size, float()));
    move |x| x * &mask
}
