//! `Dropout` and `TrueDropout`, over any noise shape.

use std::fmt;

use tch::{Tensor, nn};

use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods, noise_shape_methods};
use crate::noise_shape::NoiseShape;

/// Dropout without rescaling, as in the article that this crate began with, "Dropout is drop-dead easy to
/// implement": in training, `x * mask`; in evaluation, `x`.
///
/// Nothing is rescaled, so in training the output's mean is `1 - p` times that of the input.
/// [`TrueDropout`] keeps the mean.
///
/// ```
/// use tch::{nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::Dropout;
///
/// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
/// let layer = Dropout::columns(0.5)?;
/// let y = layer.forward_t(&x, true);
/// assert_eq!(y.get(0), y.get(1)); // The whole batch shares a column's draw.
/// assert_eq!(layer.forward_t(&x, false), x);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub type Dropout = DropoutLayer<false>;

/// Inverted dropout (Srivastava et al. 2014): in training, `x * mask / (1 - p)`; in evaluation, `x`.
///
/// `TrueDropout::elements(p)` is `torch.nn.Dropout(p)`:
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::TrueDropout;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 4, Default::default()))
///     .add(TrueDropout::elements(0.5)?)
///     .add(nn::linear(vs.root() / "output", 4, 2, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(model.forward_t(&x, true).size(), [16, 2]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub type TrueDropout = DropoutLayer<true>;

/// What [`Dropout`] and [`TrueDropout`] share: everything but whether kept elements are rescaled.
///
/// The constructor says which elements share a draw, for `x` of shape `[N, C, ...]`:
/// [`elements`](Self::elements), [`channels`](Self::channels), [`samples`](Self::samples),
/// [`columns`](Self::columns), [`batch`](Self::batch) or [`shared`](Self::shared).
///
/// A clone has the same probability and noise shape, and a copy of the stream: it starts at the original's
/// step, and so repeats the original's masks.
///
/// ```
/// # use tch_dropout::DropoutLayer;
/// let layer: DropoutLayer<true> = tch_dropout::TrueDropout::elements(0.5)?;
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct DropoutLayer<const RESCALE: bool> {
    pub(crate) noise: Noise,
}

impl<const RESCALE: bool> DropoutLayer<RESCALE> {
    /// One draw per element: the usual dropout, `torch.nn.Dropout`.
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::elements(0.5)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.5, elements)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`; the same for the other
    /// constructors.
    pub fn elements(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Elements, p)
    }

    /// One draw per column of dimension 1, shared by the whole batch.
    ///
    /// ```
    /// let layer = tch_dropout::Dropout::columns(0.5)?;
    /// assert_eq!(layer.to_string(), "Dropout(p=0.5, columns)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn columns(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Columns, p)
    }

    /// One draw per sample and channel: `torch.nn.Dropout2d`, for images between convolutions.
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::channels(0.2)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.2, channels)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn channels(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Channels, p)
    }

    /// One draw per sample: stochastic depth (DropPath), for a residual branch.
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::samples(0.1)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.1, samples)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn samples(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Samples, p)
    }

    /// One draw per forward pass, whatever the input's shape: stochastic depth's batch mode.
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::batch(0.1)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.1, batch)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn batch(p: f64) -> Result<Self> {
        Self::over(NoiseShape::Batch, p)
    }

    /// One draw shared over the dimensions `dims`; negative ones count from the end. Over the time steps of
    /// `[N, T, C]`, this is variational dropout (Gal and Ghahramani 2016):
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::shared(0.3, &[1])?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.3, shared over [1])");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn shared(p: f64, dims: &[i64]) -> Result<Self> {
        Self::over(NoiseShape::Shared(dims.to_vec()), p)
    }

    fn over(shape: NoiseShape, p: f64) -> Result<Self> {
        Ok(DropoutLayer { noise: Noise::new(p, shape, RESCALE)? })
    }

    noise_shape_methods!();
    noise_methods!();

    /// Draws a mask that you can apply several times. In evaluation it is all ones.
    ///
    /// The mask's shape is the noise shape for `x`. (In a folded Monte Carlo call it has one row per row of `x`,
    /// since each pass has its own mask.) Its elements are 0 and 1, or 0 and `1 / (1 - p)`. Here one mask serves
    /// all time steps of a recurrent loop (variational dropout, Gal and Ghahramani 2016):
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{apply_mask, TrueDropout};
    ///
    /// # let train = true;
    /// let options = (Kind::Float, Device::Cpu);
    /// let (inputs, recurrent) = (Tensor::randn([10, 4, 8], options), Tensor::randn([8, 8], options));
    /// let mut state = Tensor::zeros([4, 8], options);
    /// let mask = TrueDropout::elements(0.3)?.draw_mask(&state, train)?;
    /// for t in 0..10 {
    ///     let state_in = apply_mask(&state, &mask)?;
    ///     state = (inputs.get(t) + state_in.matmul(&recurrent)).tanh();
    /// }
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// Here two branches share a mask, and the second is recomputed later:
    ///
    /// ```
    /// # use tch::{Device, Kind, Tensor};
    /// # use tch_dropout::{apply_mask, TrueDropout};
    /// # let train = true;
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// let mask = TrueDropout::elements(0.3)?.draw_mask(&x, train)?;
    /// let branch = |x: &Tensor| apply_mask(&x.tanh(), &mask);
    /// let (left, right) = (apply_mask(&x, &mask)?, branch(&x)?);
    /// assert_eq!(left.eq(0), right.eq(0));
    /// assert_eq!(branch(&x)?, right);
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
    /// `x` has any shape that fits the noise shape (`[N, C, ...]` for columns), any device, and a
    /// floating-point, complex, integer or boolean kind. The output has the same shape, device, memory format
    /// and kind, except that integers become floats in a layer that rescales, in training and evaluation
    /// alike.
    ///
    /// The gradient with respect to `x` is the output's gradient times the mask, rescaling included. With
    /// `train` false, `p = 0` or an empty `x`, nothing is drawn, and the output is `x` itself and shares its
    /// memory, unless integers become floats. Under [`monte_carlo`](crate::monte_carlo), the layer draws in
    /// evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let layer = TrueDropout::columns(0.5)?;
    /// let vector = Tensor::ones([3], (Kind::Float, Device::Cpu));
    /// let error = layer.f_forward_t(&vector, true).unwrap_err().to_string();
    /// assert_eq!(error, "noise shape `columns` needs an input with at least 2 dimensions, got shape [3]");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An `x` that does not fit the noise shape, is not strided, or has a kind that cannot be multiplied (in
    /// evaluation too); a layer with a seed in a model that is traced in training; running out of memory.
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.forward(x, None, train)
    }

    /// `residual + dropout(x)`, as in a transformer: in one pass over elements on a CPU, with gradients for
    /// both.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let layer = TrueDropout::elements(0.1)?;
    /// let residual = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
    /// let x = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
    /// let y = layer.forward_add(&x, &residual, true); // residual + layer.forward_t(&x, true)
    /// assert_eq!(layer.forward_add(&x, &residual, false), &residual + &x);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Where [`f_forward_add`](Self::f_forward_add) returns an error.
    #[track_caller]
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_add(x, residual, train))
    }

    /// Like [`forward_add`](Self::forward_add), but returns a `Result`.
    ///
    /// # Shapes
    ///
    /// `x` as for [`f_forward_t`](Self::f_forward_t); `residual` has the same shape, or one that broadcasts
    /// with it.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let layer = TrueDropout::elements(0.1)?;
    /// let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
    /// assert!(layer.f_forward_add(&ones(&[4, 8]), &ones(&[4, 7]), true).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`f_forward_t`](Self::f_forward_t); [`Error::Layout`](crate::Error::Layout) for a residual that is not
    /// strided, [`Error::ResidualShape`](crate::Error::ResidualShape) for one that does not broadcast; and libtorch's
    /// for one on another device.
    pub fn f_forward_add(&self, x: &Tensor, residual: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.forward(x, Some(residual), train)
    }

    /// The article's name for [`columns`](Self::columns): **not `torch.nn.Dropout`,** which is
    /// [`TrueDropout::elements`](Self::elements). The article is the one that this crate began with, "Dropout is drop-dead
    /// easy to implement".
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::new(0.5)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.5, columns)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`columns`](Self::columns).
    pub fn new(p: f64) -> Result<Self> {
        Self::columns(p)
    }
}

impl<const RESCALE: bool> nn::ModuleT for DropoutLayer<RESCALE> {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch prints a layer: `TrueDropout(p=0.5, elements)`.
impl<const RESCALE: bool> fmt::Display for DropoutLayer<RESCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if RESCALE { "TrueDropout" } else { "Dropout" };
        write!(f, "{name}(p={:?}, {})", self.p(), self.noise.shape)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl<const RESCALE: bool> fmt::Debug for DropoutLayer<RESCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
