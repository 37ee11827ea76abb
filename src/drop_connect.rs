//! DropConnect: a linear layer that drops weights.

use std::borrow::Borrow;
use std::fmt;

use tch::{Tensor, nn};

use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_not_nested;

/// The options of [`drop_connect`].
///
/// ```
/// use tch_dropout::DropConnectConfig;
/// let config = DropConnectConfig { p: 0.3, rescale: false, ..Default::default() };
/// assert!(config.linear.bias);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DropConnectConfig {
    /// The probability that a weight is dropped; 0.5 by default.
    pub p: f64,
    /// Whether kept weights are multiplied by `1 / (1 - p)`; true by default.
    pub rescale: bool,
    /// The options of the linear layer.
    pub linear: nn::LinearConfig,
}

impl Default for DropConnectConfig {
    fn default() -> Self {
        DropConnectConfig { p: 0.5, rescale: true, linear: Default::default() }
    }
}

/// A linear layer that drops weights instead of activations (Wan et al. 2013): in training,
/// `x · (weight * mask / (1 - p))ᵀ + bias`, without the division if `rescale` is false.
///
/// Each forward pass draws a mask with one element per weight, and the whole batch shares it. The bias is
/// never dropped. Like [`nn::Linear`], the layer holds tensors, and so is `Send` but not `Sync`.
/// [`drop_connect`] makes one.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{drop_connect, DropConnect};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer: DropConnect = drop_connect(vs.root() / "fc", 8, 4, Default::default())?.with_seed(7);
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(layer.forward_t(&x, true).size(), [16, 4]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`nn::Linear`]: https://docs.rs/tch/latest/tch/nn/struct.Linear.html
pub struct DropConnect {
    /// The linear layer, as evaluation uses it.
    pub linear: nn::Linear,
    noise: Noise,
}

/// Makes a [`DropConnect`] layer as [`nn::linear`] makes a linear one, with the same variables under the
/// same names: a `VarStore` saves it as a linear layer, and loads it from one.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::{drop_connect, DropConnectConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = DropConnectConfig { p: 0.2, ..Default::default() };
/// let layer = drop_connect(vs.root() / "fc", 8, 4, config)?;
/// assert!(vs.variables().contains_key("fc.weight"));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`; then nothing is
/// added to the `VarStore`.
///
/// [`nn::linear`]: https://docs.rs/tch/latest/tch/nn/fn.linear.html
pub fn drop_connect<'a, T: Borrow<nn::Path<'a>>>(
    vs: T,
    in_dim: i64,
    out_dim: i64,
    config: DropConnectConfig,
) -> Result<DropConnect> {
    let noise = Noise::new(config.p, NoiseShape::Elements, config.rescale)?;
    let linear = nn::linear(vs, in_dim, out_dim, config.linear);
    Ok(DropConnect { linear, noise })
}

impl DropConnect {
    noise_methods!();

    /// The forward pass. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` is `[..., in_dim]`; the output is `[..., out_dim]`, of the same kind, on the same device.
    /// The weight's gradient passes through the mask, so a dropped weight has gradient 0.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::{drop_connect, DropConnectConfig};
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let config = DropConnectConfig { p: 1.0, ..Default::default() };
    /// let layer = drop_connect(vs.root(), 8, 4, config)?;
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// let bias = layer.linear.bs.as_ref().unwrap();
    /// assert_eq!(layer.f_forward_t(&x, true)?, bias.expand([16, 4], false)); // No weight is left.
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// libtorch's own, for an `x` whose last dimension, kind or device does not fit the weight's; then the
    /// layer takes no step.
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let nn::Linear { ws, bs } = &self.linear;
        if !self.fits(x)? {
            return Ok(x.f_linear(ws, bs.as_ref())?);
        }
        let draw = self.noise.draw_weight(ws, x, train)?;
        if draw.size != ws.size() {
            return self.forward_folded(x, &draw.mask(ws)?);
        }
        Ok(x.f_linear(&draw.multiply(ws, None)?, bs.as_ref())?)
    }

    /// Whether `x` can be multiplied by the weight. Checked before a mask is drawn, so that an error takes no
    /// step; libtorch reports it.
    fn fits(&self, x: &Tensor) -> Result<bool> {
        check_not_nested(x)?;
        let ws = &self.linear.ws;
        if x.size().last() != ws.size().last() || x.device() != ws.device() {
            return Ok(false);
        }
        if x.kind() != ws.kind() {
            // An error, unless autocast makes them equal.
            let no_rows = x.f_reshape([-1, ws.size()[1]])?.f_narrow(0, 0, 0)?;
            let _ = no_rows.f_linear(ws, None::<&Tensor>)?;
        }
        Ok(true)
    }

    /// Folded passes of Monte Carlo dropout, each with a weight of its own:
    /// `[passes, rows, in] · [passes, in, out]`.
    fn forward_folded(&self, x: &Tensor, masks: &Tensor) -> Result<Tensor> {
        let nn::Linear { ws, bs } = &self.linear;
        let (passes, out_dim, in_dim) = masks.size3()?;
        let weights = ws.f_mul(masks)?.f_transpose(1, 2)?;
        let mut y = x.f_reshape([passes, -1, in_dim])?.f_bmm(&weights)?;
        if let Some(bias) = bs {
            y = y.f_add(bias)?;
        }
        let mut size = x.size();
        if let Some(last) = size.last_mut() {
            *last = out_dim;
        }
        Ok(y.f_reshape(size)?)
    }
}

impl nn::ModuleT for DropConnect {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch prints a layer: `DropConnect(in_features=8, out_features=4, p=0.5, rescale=true)`.
impl fmt::Display for DropConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The field is public, so its weight may have any shape.
        let size = self.linear.ws.size();
        let [inputs, outputs] = [size.last(), size.first()].map(|size| size.copied().unwrap_or(1));
        let (p, rescale) = (self.p(), self.noise.rescales());
        write!(
            f,
            "DropConnect(in_features={inputs}, out_features={outputs}, p={p:?}, rescale={rescale})"
        )
    }
}

/// The same as `Display`.
impl fmt::Debug for DropConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
