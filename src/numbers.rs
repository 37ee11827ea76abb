//! What defines a mask's numbers, on whichever device they are drawn.

use crate::effect::{Affine, Outcome};
use crate::probability::Probability;
use crate::rng::counter::Counter;

/// Bits that every element of a Bernoulli draw takes, unless `p` has fewer binary digits: see `cpu/bernoulli.rs`.
pub(crate) const PLANES: u32 = 8;

/// A mask's numbers, in the order in which they are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) counter: Counter,
    /// `p` in units of 2⁻⁶⁴; `None` drops everything.
    pub(crate) threshold: Option<u64>,
    pub(crate) outcome: Outcome,
}

impl Numbers {
    pub(crate) fn new(counter: Counter, p: Probability, outcome: Outcome) -> Self {
        Numbers { counter, threshold: p.threshold(), outcome }
    }

    /// The numbers after these tiles.
    #[cfg(recompute)]
    pub(crate) fn skip_tiles(self, tiles: u64) -> Self {
        Numbers { counter: self.counter.skip_tiles(tiles), ..self }
    }

    /// What is added to the product of a number and this mask.
    pub(crate) fn shift(&self) -> Option<Affine> {
        match self.outcome {
            Outcome::Bernoulli(affine) if affine.has_shift() => Some(affine),
            _ => None,
        }
    }

    /// The same mask, to which nothing is added: that of the gradient.
    #[cfg(recompute)]
    pub(crate) fn without_shift(self) -> Self {
        let outcome = match self.outcome {
            Outcome::Bernoulli(affine) => Outcome::Bernoulli(Affine::times(affine.scale)),
            normal => normal,
        };
        Numbers { outcome, ..self }
    }
}
