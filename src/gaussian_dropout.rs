//! Gaussian dropout: multiplies by normal numbers.

use std::fmt;

use tch::{Tensor, nn};

use crate::effect::Effect;
use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods, noise_shape_methods};
use crate::noise_shape::NoiseShape;
use crate::probability::Probability;

/// Multiplies by normal numbers of mean 1 and variance `p / (1 - p)` (Srivastava et al. 2014, section 10):
/// Keras's `GaussianDropout`.
///
/// The mean and variance are those of inverted dropout's mask, but nothing is dropped. In evaluation the
/// output is `x`.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::GaussianDropout;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 4, Default::default()))
///     .add(GaussianDropout::elements(0.5)?)
///     .add(nn::linear(vs.root() / "output", 4, 2, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(model.forward_t(&x, true).size(), [16, 2]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct GaussianDropout {
    noise: Noise,
}

/// The standard deviation of the noise.
fn deviation(p: Probability) -> f64 {
    (p.get() / (1.0 - p.get())).sqrt()
}

impl GaussianDropout {
    /// One normal number per element: Keras's `GaussianDropout(p)`.
    /// [`with_noise_shape`](Self::with_noise_shape) shares them.
    ///
    /// ```
    /// use tch_dropout::{GaussianDropout, NoiseShape};
    /// let layer = GaussianDropout::elements(0.1)?;
    /// assert_eq!(layer.to_string(), "GaussianDropout(p=0.1, elements)");
    /// let for_images = layer.with_noise_shape(NoiseShape::Channels);
    /// assert_eq!(for_images.to_string(), "GaussianDropout(p=0.1, channels)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`;
    /// [`Error::InfiniteVariance`](crate::Error::InfiniteVariance) for `p = 1`.
    pub fn elements(p: f64) -> Result<Self> {
        let noise = Noise::with_effect(p, NoiseShape::Elements, Effect::Normal(deviation))?;
        Ok(GaussianDropout { noise })
    }

    noise_shape_methods!();
    noise_methods!();

    /// Draws noise that you can apply several times: normal numbers of mean 1 in training, ones in evaluation.
    /// Its shape is the noise shape for `x`; [`apply_mask`](crate::apply_mask) multiplies by it.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{GaussianDropout, apply_mask};
    ///
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// let mask = GaussianDropout::elements(0.5)?.draw_mask(&x, true)?;
    /// assert_eq!(apply_mask(&x, &mask)?, &x * &mask);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`f_forward_t`](Self::f_forward_t).
    pub fn draw_mask(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.draw_mask(x, train)
    }

    /// The forward pass. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` has any shape that fits the noise shape, any device, and a floating-point, complex, integer or
    /// boolean kind; integers become floats. The output has the same shape, device and memory format. The
    /// noise has the precision of `f32`, or of the kind if that is lower; drawn on a CPU, no number is more
    /// than 6.7 standard deviations from 1. The gradient is multiplied by the same noise. Under
    /// [`monte_carlo`](crate::monte_carlo), the layer draws in evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::GaussianDropout;
    ///
    /// let x = Tensor::ones([1000, 1000], (Kind::Float, Device::Cpu));
    /// let y = GaussianDropout::elements(0.5)?.with_seed(1).f_forward_t(&x, true)?;
    /// assert!((y.std(true) - 1.0).abs().double_value(&[]) < 0.01); // sqrt(0.5 / (1 - 0.5))
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`DropoutLayer::f_forward_t`](crate::DropoutLayer::f_forward_t).
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.forward(x, None, train)
    }
}

impl nn::ModuleT for GaussianDropout {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch prints a layer: `GaussianDropout(p=0.1, elements)`.
impl fmt::Display for GaussianDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GaussianDropout(p={:?}, {})", self.p(), self.noise.shape)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for GaussianDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
