//! Alpha dropout: for self-normalizing networks, with SELU activations.

use std::fmt;

use tch::{Tensor, nn};

use crate::effect::{Affine, Effect};
use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods, noise_shape_methods};
use crate::noise_shape::NoiseShape;
use crate::probability::Probability;

/// What SELU tends to for very negative inputs, -λα: the paper's α'.
const SATURATION: f64 = -1.758_099_340_847_376_6;

/// Dropout that keeps the mean and variance of SELU activations (Klambauer et al., "Self-Normalizing Neural
/// Networks", 2017): `torch.nn.AlphaDropout`, and over channels `torch.nn.FeatureAlphaDropout`.
///
/// A dropped element becomes α' ≈ -1.758, the value that SELU tends to for very negative inputs. Then all are
/// scaled and shifted: `a * (x * mask + α' * (1 - mask)) + b`, where `a` and `b` give an input of mean 0 and
/// variance 1 the same mean and variance again. In evaluation the output is `x`. If `p = 1`, it is all zeros,
/// as in PyTorch.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::AlphaDropout;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 4, Default::default()))
///     .add_fn(|x| x.selu())
///     .add(AlphaDropout::elements(0.1)?)
///     .add(nn::linear(vs.root() / "output", 4, 2, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(model.forward_t(&x, true).size(), [16, 2]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct AlphaDropout {
    noise: Noise,
}

/// The paper's `a` and `b`, for kept and dropped elements.
fn affine(p: Probability) -> Affine {
    let (p, keep) = (p.get(), 1.0 - p.get());
    if keep == 0.0 {
        return Affine::times(0.0);
    }
    let a = (keep + SATURATION.powi(2) * keep * p).sqrt().recip();
    let b = -a * p * SATURATION;
    Affine { scale: a, shift_kept: b, shift_dropped: a * SATURATION + b }
}

impl AlphaDropout {
    /// One draw per element: `torch.nn.AlphaDropout`.
    ///
    /// ```
    /// let layer = tch_dropout::AlphaDropout::elements(0.1)?;
    /// assert_eq!(layer.to_string(), "AlphaDropout(p=0.1, elements)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`.
    pub fn elements(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Elements, p)
    }

    /// One draw per sample and channel: `torch.nn.FeatureAlphaDropout`.
    ///
    /// ```
    /// let layer = tch_dropout::AlphaDropout::channels(0.1)?;
    /// assert_eq!(layer.to_string(), "AlphaDropout(p=0.1, channels)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`.
    pub fn channels(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Channels, p)
    }

    fn over(shape: NoiseShape, p: f64) -> Result<Self> {
        Ok(AlphaDropout { noise: Noise::with_effect(p, shape, Effect::Affine(affine))? })
    }

    noise_shape_methods!();
    noise_methods!();

    /// The forward pass. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` has any shape that fits the noise shape, any device, and a real kind; integers become floats. The
    /// output has the same shape, device and memory format. The gradient of a kept element is multiplied by
    /// `a`, that of a dropped one by 0. Under [`monte_carlo`](crate::monte_carlo), the layer draws in
    /// evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::AlphaDropout;
    ///
    /// let x = Tensor::randn([1000, 1000], (Kind::Float, Device::Cpu));
    /// let y = AlphaDropout::elements(0.5)?.with_seed(1).f_forward_t(&x, true)?;
    /// assert!((y.std(true) - 1.0).abs().double_value(&[]) < 0.01);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`DropoutLayer::f_forward_t`](crate::DropoutLayer::f_forward_t); and
    /// [`Error::Kind`](crate::Error::Kind) for complex numbers.
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.forward(x, None, train)
    }
}

impl nn::ModuleT for AlphaDropout {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch prints a layer: `AlphaDropout(p=0.1, elements)`.
impl fmt::Display for AlphaDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlphaDropout(p={:?}, {})", self.p(), self.noise.shape)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for AlphaDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
