//! Monte Carlo dropout without options.

use tch::Tensor;

use super::options::MonteCarlo;
use super::prediction::Prediction;
use crate::error::Result;

/// Predicts classes and their uncertainty, by `passes` forward passes with dropout on (Gal and Ghahramani
/// 2016). The whole input is one batch; [`MonteCarlo`] has more options, and regression.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{monte_carlo, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 32, Default::default()))
///     .add_fn(|x| x.relu())
///     .add(TrueDropout::elements(0.5)?)
///     .add(nn::linear(vs.root() / "output", 32, 3, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
///
/// let prediction = monte_carlo(|x, train| model.forward_t(x, train), &x, 50)?;
/// assert_eq!(prediction.mean.size(), [16, 3]);
/// assert_eq!(prediction.entropy.size(), [16]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// `passes` below 1, and those of [`MonteCarlo::predict`].
pub fn monte_carlo<F>(model: F, x: &Tensor, passes: i64) -> Result<Prediction>
where
    F: FnMut(&Tensor, bool) -> Tensor,
{
    MonteCarlo::new(passes)?.predict(model, x)
}

/// Like [`monte_carlo`], for a model that returns a `Result`.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{f_monte_carlo, TrueDropout};
///
/// let layer = TrueDropout::columns(0.5)?;
/// let vectors = Tensor::ones([3], (Kind::Float, Device::Cpu));
/// let error = f_monte_carlo(|x, train| layer.f_forward_t(x, train), &vectors, 50).unwrap_err();
/// assert!(error.to_string().starts_with("noise shape `columns` needs"));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`monte_carlo`], and the model's.
pub fn f_monte_carlo<F>(model: F, x: &Tensor, passes: i64) -> Result<Prediction>
where
    F: FnMut(&Tensor, bool) -> Result<Tensor>,
{
    MonteCarlo::new(passes)?.f_predict(model, x)
}
