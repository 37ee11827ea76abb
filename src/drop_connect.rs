use std::borrow::Borrow;
use std::fmt;

use tch::{nn, Tensor};

use crate::ambient;
use crate::error::Result;
use crate::noise::{Noise, Scaling};
use crate::{NoiseShape, Stream};

/// How [`drop_connect`] makes a layer.
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
    /// How the linear layer is made.
    pub linear: nn::LinearConfig,
}

impl Default for DropConnectConfig {
    fn default() -> Self {
        DropConnectConfig { p: 0.5, rescale: true, linear: Default::default() }
    }
}

/// A linear layer that drops weights instead of activations (Wan et al. 2013): in training,
/// `x · (weight * mask)ᵀ + bias`, with a mask entry for each weight, drawn anew for each forward and
/// shared by the batch. The bias is left alone. Made by [`drop_connect`].
///
/// Like [`nn::Linear`] it holds tensors, and so is `Send` but not `Sync`.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{drop_connect, DropConnect};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer: DropConnect = drop_connect(vs.root() / "fc", 8, 4, Default::default())?;
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(layer.forward_t(&x, true).size(), [16, 4]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
pub struct DropConnect {
    /// The layer as it is in evaluation.
    pub linear: nn::Linear,
    noise: Noise,
    scaling: Scaling,
}

/// Makes a [`DropConnect`] layer as [`nn::linear`] makes a linear one, with the same variables by the
/// same names: a `VarStore` saves it as a linear layer and loads it from one.
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
pub fn drop_connect<'a, T: Borrow<nn::Path<'a>>>(
    vs: T,
    in_dim: i64,
    out_dim: i64,
    config: DropConnectConfig,
) -> Result<DropConnect> {
    let noise = Noise { shape: NoiseShape::Elements, ..Noise::new(config.p)? };
    let scaling = if config.rescale { Scaling::Rescale } else { Scaling::Unscaled };
    Ok(DropConnect { linear: nn::linear(vs, in_dim, out_dim, config.linear), noise, scaling })
}

impl DropConnect {
    /// Gives the layer random numbers of its own; see
    /// [`TrueDropout::seed`](crate::DropoutLayer::seed).
    ///
    /// ```
    /// # use tch::{nn, Device};
    /// # let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = tch_dropout::drop_connect(vs.root(), 8, 4, Default::default())?.seed(7);
    /// assert_eq!(layer.step(), Some(0));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn seed(self, seed: u64) -> Self {
        self.stream(Stream::new(seed))
    }

    /// Gives the layer a [`Stream`] of its own.
    ///
    /// ```
    /// # use tch::{nn, Device};
    /// # let vs = nn::VarStore::new(Device::Cpu);
    /// use tch_dropout::{drop_connect, Stream};
    /// let layer = drop_connect(vs.root(), 8, 4, Default::default())?.stream(Stream::new(7).worker(1));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn stream(self, stream: Stream) -> Self {
        DropConnect { noise: Noise { stream: Some(stream), ..self.noise }, ..self }
    }

    /// The step that the next training forward will take; `None` without a stream.
    ///
    /// ```
    /// # use tch::{nn, Device};
    /// # let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = tch_dropout::drop_connect(vs.root(), 8, 4, Default::default())?;
    /// assert_eq!(layer.step(), None);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn step(&self) -> Option<u64> {
        self.noise.step()
    }

    /// Goes to a step of the layer's stream, as when training resumes from a checkpoint.
    ///
    /// ```
    /// # use tch::{nn, Device};
    /// # let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = tch_dropout::drop_connect(vs.root(), 8, 4, Default::default())?.seed(7);
    /// layer.set_step(1_000)?;
    /// assert_eq!(layer.step(), Some(1_000));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoStream`](crate::Error::NoStream) for a layer without a stream;
    /// [`Error::Step`](crate::Error::Step) for a step of 2⁴⁸ or more.
    pub fn set_step(&self, step: u64) -> Result<()> {
        self.noise.set_step(step)
    }

    /// The forward pass. [`forward_t`](nn::ModuleT::forward_t) is the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` is `[..., in_dim]`; the output is `[..., out_dim]`, of the same kind, on the same device.
    /// The weight's gradient passes through its mask, so a dropped weight's is 0.
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
    /// libtorch's own, for an `x` of another last dimension, kind or device than the weight's.
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let nn::Linear { ws, bs } = &self.linear;
        if self.noise.is_identity(ws, train) {
            return Ok(x.f_linear(ws, bs.as_ref())?);
        }
        match ambient::fold_of(&x.size())? {
            1 => Ok(x.f_linear(&self.noise.apply(ws, self.scaling)?, bs.as_ref())?),
            fold => self.forward_folded(x, fold),
        }
    }

    /// Passes of Monte Carlo dropout side by side, each with a weight of its own:
    /// `[fold, rows, in] · [fold, in, out]`.
    fn forward_folded(&self, x: &Tensor, fold: i64) -> Result<Tensor> {
        let nn::Linear { ws, bs } = &self.linear;
        let (mut size, weight_size) = (x.size(), ws.size());
        let mask =
            self.noise.draw_sized(ws, &[&[fold], &weight_size[..]].concat(), self.scaling)?;
        let weights = ws.f_mul(&mask)?.f_transpose(1, 2)?;
        let rows = x.f_reshape([fold, -1, size[size.len() - 1]])?;
        let mut y = rows.f_bmm(&weights)?;
        if let Some(bias) = bs {
            y = y.f_add(bias)?;
        }
        if let Some(last) = size.last_mut() {
            *last = weight_size[0];
        }
        Ok(y.f_reshape(size)?)
    }
}

impl nn::ModuleT for DropConnect {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.f_forward_t(x, train).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// As PyTorch prints a layer: `DropConnect(in_features=8, out_features=4, p=0.5, rescale=true)`.
impl fmt::Display for DropConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.linear.ws.size();
        let (p, rescale) = (self.noise.p.get(), self.scaling == Scaling::Rescale);
        write!(
            f,
            "DropConnect(in_features={}, out_features={}, p={p}, rescale={rescale})",
            size[1], size[0]
        )
    }
}
