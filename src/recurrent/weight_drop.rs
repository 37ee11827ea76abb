//! Weight drop: DropConnect on the recurrent weights.

use std::fmt;

use tch::Tensor;

use crate::error::Result;
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;

/// DropConnect on the recurrent (hidden-to-hidden) weights, as in AWD-LSTM (Merity et al. 2017): in training,
/// `weight_hh * mask / (1 - p)`.
///
/// Each forward pass draws one mask for each layer and direction; all time steps and the whole batch share
/// it. fastai calls it `WeightDropout`. It is a part of [`RecurrentDropout`](crate::RecurrentDropout).
///
/// ```
/// use tch_dropout::{RecurrentDropout, WeightDrop};
///
/// let dropout = RecurrentDropout { weights: WeightDrop::new(0.5)?.with_seed(7), ..Default::default() };
/// assert_eq!(dropout.weights.p(), 0.5);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct WeightDrop {
    noise: Noise,
}

impl WeightDrop {
    /// Drops each weight with probability `p`.
    ///
    /// ```
    /// assert_eq!(tch_dropout::WeightDrop::new(0.5)?.to_string(), "WeightDrop(p=0.5)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(WeightDrop { noise: Noise::new(p, NoiseShape::Elements, true)? })
    }

    noise_methods!();

    /// The weight times a new mask; `[passes, ...]` for folded passes of Monte Carlo dropout, of which each
    /// has a mask of its own.
    pub(super) fn masked(&self, weight: &Tensor, batch: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.draw_weight(weight, batch, train)?.multiply(weight, None)
    }
}

/// As PyTorch would print it: `WeightDrop(p=0.5)`.
impl fmt::Display for WeightDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightDrop(p={:?})", self.p())
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for WeightDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
