//! DropConnect: a linear layer that drops weights.

#[cfg(recompute)]
mod each_sample;

use std::borrow::Borrow;
use std::fmt;

use tch::{Tensor, nn};

use crate::draw::Draw;
use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_not_nested;

/// The options of [`drop_connect`].
///
/// ```
/// use tch_dropout::DropConnectConfig;
/// // As Wan et al. 2013 train: a mask for each sample.
/// let config = DropConnectConfig { p: 0.5, per_sample: true, ..Default::default() };
/// assert!(config.linear.bias);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DropConnectConfig {
    /// The probability that a weight is dropped; 0.5 by default.
    pub p: f64,
    /// Whether kept weights are multiplied by `1 / (1 - p)`; true by default.
    pub rescale: bool,
    /// Whether each sample has a mask of its own; false by default. See [the cost](DropConnect#a-mask-for-each-sample).
    pub per_sample: bool,
    /// The options of the linear layer.
    pub linear: nn::LinearConfig,
}

impl Default for DropConnectConfig {
    fn default() -> Self {
        DropConnectConfig { p: 0.5, rescale: true, per_sample: false, linear: Default::default() }
    }
}

/// A linear layer that drops weights instead of activations (Wan et al. 2013): in training,
/// `x · (weight * mask / (1 - p))ᵀ + bias`, without the division if `rescale` is false.
///
/// Each forward pass draws a mask with one element per weight, and the whole batch shares it; or, with
/// [`per_sample`](DropConnectConfig::per_sample), each sample has its own. The bias is never dropped. Like
/// [`nn::Linear`], the layer holds tensors, and so is `Send` but not `Sync`. [`drop_connect`] makes one.
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
/// # A mask for each sample
///
/// The paper draws a mask for each sample, as one for the whole batch regularizes too little. Then `x` is `[N, ..., in]`
/// or `[in]`, and sample `n` is multiplied by `weight * mask[n]`, where the mask is that of an `[N, out, in]` tensor.
///
/// No mask and no masked weight is kept, with the feature `recompute`: they are computed for a few samples at a time, and
/// again in the backward pass, in memory for one weight. That takes time: each sample draws a mask as large as the weight
/// and multiplies by it, once in the forward pass and twice in the backward pass, where a batch that shares its weight
/// takes one matrix product. Second derivatives, models that are being traced and [`tch::autocast`] keep all `N` masked
/// weights; without `recompute`, so does training.
///
/// [`nn::Linear`]: https://docs.rs/tch/latest/tch/nn/struct.Linear.html
pub struct DropConnect {
    /// The linear layer, as evaluation uses it.
    pub linear: nn::Linear,
    noise: Noise,
    per_sample: bool,
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
    Ok(DropConnect { linear, noise, per_sample: config.per_sample })
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
        if self.per_sample {
            return self.forward_each(x, train);
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

    /// A mask for each sample. In folded passes of Monte Carlo dropout, each copy of a sample is one.
    fn forward_each(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let nn::Linear { ws, bs } = &self.linear;
        let p = self.noise.active_p(train)?;
        if p.is_zero() || x.numel() == 0 {
            return Ok(x.f_linear(ws, bs.as_ref())?);
        }
        let rows = match x.dim() {
            1 => x.f_reshape([1, 1, -1])?,
            2 => x.f_unsqueeze(1)?,
            _ => x.f_flatten(1, -2)?,
        };
        // [N, out, in], of x's size, so that a trace takes batches of any size.
        let like = rows.f_narrow(1, 0, 1)?.f_expand([-1, ws.size()[0], -1], false)?;
        let weights = ws.f_expand_as(&like)?;
        let draw = self.noise.draw_at(p, &weights)?;
        let y = match self.in_blocks(&draw, &rows, &weights)? {
            Some(y) => y,
            None => multiply_each(&rows, &draw.multiply(&weights, None)?)?,
        };
        let y = self.add_bias(y)?;
        match x.dim() {
            1 => Ok(y.f_view([-1])?),
            2 => Ok(y.f_squeeze_dim(1)?),
            _ => Ok(y.f_unflatten(1, &x.size()[1..x.dim() - 1])?),
        }
    }

    /// Without masked weights that the graph keeps, where that can be.
    #[cfg(recompute)]
    fn in_blocks(&self, draw: &Draw, rows: &Tensor, weights: &Tensor) -> Result<Option<Tensor>> {
        let ws = &self.linear.ws;
        if !each_sample::fits(rows, ws) {
            return Ok(None);
        }
        let mask = draw.per_element(weights)?;
        mask.map(|mask| each_sample::multiply(mask, rows, ws)).transpose()
    }

    #[cfg(not(recompute))]
    fn in_blocks(&self, _: &Draw, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Folded passes of Monte Carlo dropout, each with a weight of its own:
    /// `[passes, rows, in] · [passes, in, out]`.
    fn forward_folded(&self, x: &Tensor, masks: &Tensor) -> Result<Tensor> {
        let ws = &self.linear.ws;
        let (passes, out_dim, in_dim) = masks.size3()?;
        let y = multiply_each(&x.f_reshape([passes, -1, in_dim])?, &ws.f_mul(masks)?)?;
        let mut size = x.size();
        if let Some(last) = size.last_mut() {
            *last = out_dim;
        }
        Ok(self.add_bias(y)?.f_reshape(size)?)
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.linear.bs {
            Some(bias) => Ok(y.f_add(bias)?),
            None => Ok(y),
        }
    }
}

/// Rows with a weight for each group of them: `[groups, rows, in] · [groups, out, in]ᵀ`.
fn multiply_each(rows: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(rows.f_bmm(&weights.f_transpose(1, 2)?)?)
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
            "DropConnect(in_features={inputs}, out_features={outputs}, p={p:?}, rescale={rescale}"
        )?;
        f.write_str(if self.per_sample { ", per_sample=true)" } else { ")" })
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for DropConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
