//! Dropout in one call, in place of tch's: search for `x.dropout(` and replace it.

use tch::Tensor;

use crate::error::{Result, or_panic};
use crate::monte_carlo::scope;
use crate::noise::Noise;
use crate::noise_shape::NoiseShape;

/// A drop-in replacement for [`Tensor::dropout`], faster on a CPU. In training it drops each element with
/// probability `p` and multiplies the others by `1 / (1 - p)`; in evaluation it returns `x`.
///
/// Replace `x.dropout(p, train)` with `dropout(&x, p, train)`. It follows [`tch::manual_seed`], and under
/// [`monte_carlo`](crate::monte_carlo) it draws in evaluation too. A layer, such as
/// [`TrueDropout`](crate::TrueDropout), can also have a seed of its own.
///
/// In evaluation any tensor comes back as it is, as from tch: quantized, of integers, sparse or nested. A layer asks the
/// same of its input in both modes, and returns the same kind, so that a model that evaluates also trains.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::dropout;
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// let y = dropout(&x, 0.5, true); // was: x.dropout(0.5, true)
/// assert_eq!(y.size(), x.size());
/// assert_eq!(dropout(&x, 0.5, false), x);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Panics
///
/// Where [`f_dropout`] returns an error.
///
/// [`Tensor::dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.dropout
/// [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
#[track_caller]
pub fn dropout(x: &Tensor, p: f64, train: bool) -> Tensor {
    or_panic(f_dropout(x, p, train))
}

/// Like [`dropout`], but returns a `Result`.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::f_dropout;
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// let error = f_dropout(&x, 1.5, true).unwrap_err().to_string();
/// assert_eq!(error, "p must be a probability in [0, 1], got 1.5");
/// ```
///
/// # Errors
///
/// `p` outside `[0, 1]`. In training: a tensor that is not strided, or of a kind that cannot be multiplied; running out
/// of memory.
pub fn f_dropout(x: &Tensor, p: f64, train: bool) -> Result<Tensor> {
    f_dropout_over(NoiseShape::Elements, x, p, train)
}

/// A drop-in replacement for [`Tensor::feature_dropout`]: drops whole channels of `[N, C, ...]` for each
/// sample, and rescales the others.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::feature_dropout;
///
/// let x = Tensor::randn([16, 8, 5, 5], (Kind::Float, Device::Cpu));
/// let y = feature_dropout(&x, 0.5, true); // was: x.feature_dropout(0.5, true)
/// assert_eq!(y.size(), x.size());
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Panics
///
/// Where [`f_feature_dropout`] returns an error.
///
/// [`Tensor::feature_dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.feature_dropout
#[track_caller]
pub fn feature_dropout(x: &Tensor, p: f64, train: bool) -> Tensor {
    or_panic(f_feature_dropout(x, p, train))
}

/// Like [`feature_dropout`], but returns a `Result`.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::f_feature_dropout;
///
/// let x = Tensor::ones([3], (Kind::Float, Device::Cpu));
/// let error = f_feature_dropout(&x, 0.5, true).unwrap_err().to_string();
/// assert_eq!(error, "noise shape `channels` needs an input with at least 2 dimensions, got shape [3]");
/// ```
///
/// # Errors
///
/// Those of [`f_dropout`]; in training, an `x` of fewer than two dimensions.
pub fn f_feature_dropout(x: &Tensor, p: f64, train: bool) -> Result<Tensor> {
    f_dropout_over(NoiseShape::Channels, x, p, train)
}

fn f_dropout_over(shape: NoiseShape, x: &Tensor, p: f64, train: bool) -> Result<Tensor> {
    let noise = Noise::new(p, shape, true)?;
    if train || scope::is_active() { noise.forward(x, None, train) } else { Ok(x.shallow_clone()) }
}
