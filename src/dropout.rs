use std::fmt;

use tch::{nn, Tensor};

use crate::error::Result;
use crate::noise::{Noise, Scaling};
use crate::{NoiseShape, Stream};

/// The article's dropout: in training, `x * mask`; in evaluation, `x`.
///
/// Nothing is rescaled, so the mean of the output is `1 - p` times that of the input in training and
/// 1 times in evaluation. [`TrueDropout`] mends that.
///
/// ```
/// use tch::{nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::Dropout;
///
/// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
/// let layer = Dropout::new(0.5)?;
/// let y = layer.forward_t(&x, true);
/// assert_eq!(y.get(0), y.get(1)); // Whole columns are dropped.
/// assert_eq!(layer.forward_t(&x, false), x);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub type Dropout = DropoutLayer<false>;

/// Inverted dropout (Srivastava et al. 2014): in training, `x * mask / (1 - p)`; in evaluation, `x`.
///
/// With [`NoiseShape::Elements`] this is `torch.nn.Dropout`:
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{NoiseShape, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 4, Default::default()))
///     .add(TrueDropout::new(0.5)?.noise_shape(NoiseShape::Elements))
///     .add(nn::linear(vs.root() / "output", 4, 2, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// assert_eq!(model.forward_t(&x, true).size(), [16, 2]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub type TrueDropout = DropoutLayer<true>;

/// What [`Dropout`] and [`TrueDropout`] have in common: all but whether kept entries are rescaled.
///
/// ```
/// # use tch_dropout::DropoutLayer;
/// let layer: DropoutLayer<true> = tch_dropout::TrueDropout::new(0.5)?;
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
pub struct DropoutLayer<const RESCALE: bool> {
    noise: Noise,
}

impl<const RESCALE: bool> DropoutLayer<RESCALE> {
    const SCALING: Scaling = if RESCALE { Scaling::Rescale } else { Scaling::Unscaled };

    /// A layer that drops columns with probability `p`, following [`tch::manual_seed`].
    ///
    /// ```
    /// let layer = tch_dropout::TrueDropout::new(0.5)?;
    /// assert_eq!(layer.to_string(), "TrueDropout(p=0.5, columns)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(DropoutLayer { noise: Noise::new(p)? })
    }

    /// Which entries share a draw; columns unless this says otherwise.
    ///
    /// ```
    /// use tch_dropout::{NoiseShape, TrueDropout};
    /// let like_torch = TrueDropout::new(0.5)?.noise_shape(NoiseShape::Elements);
    /// let drop_path = TrueDropout::new(0.1)?.noise_shape(NoiseShape::Samples);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn noise_shape(self, shape: NoiseShape) -> Self {
        DropoutLayer { noise: Noise { shape, ..self.noise } }
    }

    /// Gives the layer random numbers of its own: [`stream`](Self::stream) of `Stream::new(seed)`. Each
    /// layer should have another seed; with the same one two layers drop the same places.
    ///
    /// ```
    /// use tch::{nn::ModuleT, Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let x = Tensor::ones([2, 100], (Kind::Float, Device::Cpu));
    /// let first = TrueDropout::new(0.5)?.seed(7).forward_t(&x, true);
    /// let again = TrueDropout::new(0.5)?.seed(7).forward_t(&x, true);
    /// assert_eq!(first, again);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn seed(self, seed: u64) -> Self {
        self.stream(Stream::new(seed))
    }

    /// Gives the layer a [`Stream`] of its own.
    ///
    /// Its masks are drawn on the CPU and copied to `x`'s device, so that every device has the same
    /// ones. On a GPU that is slower than drawing there, which is what a layer without one does.
    ///
    /// ```
    /// use tch_dropout::{Stream, TrueDropout};
    /// let layer = TrueDropout::new(0.5)?.stream(Stream::new(7).worker(3));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn stream(self, stream: Stream) -> Self {
        DropoutLayer { noise: Noise { stream: Some(stream), ..self.noise } }
    }

    /// The step that the next training forward will take; `None` without a stream. Only forwards that
    /// draw take one: not evaluation (unless [`monte_carlo`](crate::monte_carlo) runs it), `p = 0` or an
    /// empty input.
    ///
    /// ```
    /// use tch::{nn::ModuleT, Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
    /// let layer = TrueDropout::new(0.5)?.seed(7);
    /// layer.forward_t(&x, true);
    /// layer.forward_t(&x, false);
    /// assert_eq!(layer.step(), Some(1));
    /// assert_eq!(TrueDropout::new(0.5)?.step(), None);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn step(&self) -> Option<u64> {
        self.noise.step()
    }

    /// Goes to a step of the layer's stream, as when training resumes from a checkpoint. A `VarStore`
    /// does not hold the step; save it beside that. A layer that goes into a sequence can be reached
    /// later through an `Arc`:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tch::nn::{self, ModuleT};
    /// use tch_dropout::TrueDropout;
    ///
    /// let saved = 1_000;
    /// let dropout = Arc::new(TrueDropout::new(0.5)?.seed(7));
    /// let in_sequence = Arc::clone(&dropout);
    /// let model = nn::seq_t().add_fn_t(move |x, train| in_sequence.forward_t(x, train));
    /// dropout.set_step(saved)?;
    /// assert_eq!(dropout.step(), Some(1_000));
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

    /// Draws the mask of one training forward, to be kept and applied more than once.
    ///
    /// Its shape is the noise shape for `x`; its entries are 0 and 1, or 0 and `1 / (1 - p)`. Here
    /// one mask serves all time steps of a recurrent loop (variational dropout, Gal and Ghahramani
    /// 2016):
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{apply_mask, NoiseShape, TrueDropout};
    ///
    /// let options = (Kind::Float, Device::Cpu);
    /// let (inputs, recurrent) = (Tensor::randn([10, 4, 8], options), Tensor::randn([8, 8], options));
    /// let mut state = Tensor::zeros([4, 8], options);
    /// let mask = TrueDropout::new(0.3)?.noise_shape(NoiseShape::Elements).draw_mask(&state)?;
    /// for t in 0..10 {
    ///     let state_in = apply_mask(&state, &mask)?;
    ///     state = (inputs.get(t) + state_in.matmul(&recurrent)).tanh();
    /// }
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// And here two branches, the second of which is computed again later:
    ///
    /// ```
    /// # use tch::{Device, Kind, Tensor};
    /// # use tch_dropout::{apply_mask, TrueDropout};
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// let mask = TrueDropout::new(0.3)?.draw_mask(&x)?;
    /// let branch = |x: &Tensor| apply_mask(&x.tanh(), &mask);
    /// let (left, right) = (apply_mask(&x, &mask)?, branch(&x)?);
    /// assert_eq!(left.eq(0), right.eq(0));
    /// assert_eq!(branch(&x)?, right);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A noise shape that `x`'s dimensions don't fit; a kind without multiplication; no memory.
    pub fn draw_mask(&self, x: &Tensor) -> Result<Tensor> {
        self.noise.draw(x, Self::SCALING)
    }

    /// The forward pass. [`forward_t`](nn::ModuleT::forward_t) is the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` has any shape that the noise shape fits (`[N, C, ...]` for columns), any device, and a
    /// floating-point, complex, integer or boolean kind. The output has the same shape, device and
    /// memory format, and the same kind but for integers that are rescaled: those become floats.
    ///
    /// The gradient of `x` is the output's times the mask. With `train` false, `p = 0` or an empty `x`
    /// the output is `x` itself, sharing its memory, and nothing is drawn. In a model that [`monte_carlo`](crate::monte_carlo) runs, `train`
    /// is as good as true.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::TrueDropout;
    ///
    /// let layer = TrueDropout::new(0.5)?;
    /// let vector = Tensor::ones([3], (Kind::Float, Device::Cpu));
    /// let error = layer.f_forward_t(&vector, true).unwrap_err().to_string();
    /// assert_eq!(error, "columns noise needs an input of at least 2 dimensions, got shape [3]");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`draw_mask`](Self::draw_mask).
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if self.noise.is_identity(x, train) {
            return Ok(x.shallow_clone());
        }
        self.noise.apply(x, Self::SCALING)
    }
}

impl<const RESCALE: bool> nn::ModuleT for DropoutLayer<RESCALE> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.f_forward_t(x, train).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl<const RESCALE: bool> fmt::Display for DropoutLayer<RESCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if RESCALE { "TrueDropout" } else { "Dropout" };
        write!(f, "{name}(p={}, {})", self.noise.p.get(), self.noise.shape)
    }
}
