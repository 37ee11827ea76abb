//! What a draw makes of an element: each layer's formula, as numbers.

use tch::Tensor;

use crate::error::Result;
use crate::probability::Probability;

/// What a draw makes of an element. Layers with a formula of their own bring it along as a function of `p`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Kept or dropped.
    Drop,
    /// Kept and multiplied by `1 / (1 - p)`, or dropped: inverted dropout.
    Rescale,
    /// A linear function of it if kept, a constant if dropped.
    Affine(fn(Probability) -> Affine),
    /// Multiplied by a normal number of mean 1 and this standard deviation.
    Normal(fn(Probability) -> f64),
}

/// An [`Effect`] for one `p`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Bernoulli(Affine),
    Normal { deviation: f64 },
}

impl Effect {
    pub(crate) fn at(self, p: Probability) -> Outcome {
        match self {
            Effect::Drop => Outcome::Bernoulli(Affine::times(1.0)),
            Effect::Rescale => Outcome::Bernoulli(Affine::times(p.scale())),
            Effect::Affine(affine) => Outcome::Bernoulli(affine(p)),
            Effect::Normal(deviation) => Outcome::Normal { deviation: deviation(p) },
        }
    }
}

/// `scale * x + shift_kept` for an element that is kept, and `shift_dropped` for one that is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: f64,
    pub(crate) shift_kept: f64,
    pub(crate) shift_dropped: f64,
}

impl Affine {
    pub(crate) fn times(scale: f64) -> Self {
        Affine { scale, shift_kept: 0.0, shift_dropped: 0.0 }
    }

    pub(crate) fn has_shift(&self) -> bool {
        self.shift_kept != 0.0 || self.shift_dropped != 0.0
    }

    /// `x` times a stored mask of 0 and `scale`, and what is added.
    pub(crate) fn apply(&self, mut product: Tensor, mask: &Tensor) -> Result<Tensor> {
        if self.has_shift() { Ok(product.f_add_(&self.shift(mask)?)?) } else { Ok(product) }
    }

    /// What is added, where a stored mask is 0 and where it is not.
    fn shift(&self, mask: &Tensor) -> Result<Tensor> {
        let dropped = mask.f_full_like(self.shift_dropped)?;
        Ok(dropped.f_masked_fill(&mask.f_ne(0)?, self.shift_kept)?)
    }
}
