//! What every layer holds, and the one way from `x` to its product with a mask.
//!
//! `x` → a [`Draw`]: is anything dropped, which size and kind has the mask → a mask → the product.

use tch::{Device, Kind, Tensor};

use crate::cpu::{ImplicitMask, Layout};
use crate::error::{Error, Result};
use crate::kind::{mask_kind, real_kind};
use crate::monte_carlo::scope;
use crate::noise_shape::NoiseShape;
use crate::probability::{AtomicProbability, Probability};
use crate::product::product;
use crate::rng::counter::Counter;
use crate::rng::stream::Stream;
use crate::trace;

/// What every layer holds: how likely an element is dropped, together with which others, whether kept
/// ones are rescaled, and whose random numbers decide.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    p: AtomicProbability,
    pub(crate) shape: NoiseShape,
    /// Whether kept elements are multiplied by `1 / (1 - p)`.
    pub(crate) rescale: bool,
    /// Without one, libtorch's generator decides.
    pub(crate) stream: Option<Stream>,
}

impl Noise {
    pub(crate) fn new(p: f64, shape: NoiseShape, rescale: bool) -> Result<Self> {
        let p = AtomicProbability::new(Probability::new(p)?);
        Ok(Noise { p, shape, rescale, stream: None })
    }

    pub(crate) fn p(&self) -> f64 {
        self.p.load().get()
    }

    pub(crate) fn set_p(&self, p: f64) -> Result<()> {
        self.p.store(Probability::new(p)?);
        Ok(())
    }

    /// `x` times a new mask in training, and `x` itself in evaluation; plus `residual`, if there is one.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        if let Some(residual) = residual {
            check_residual(x, residual)?;
        }
        self.draw(x, train)?.multiply(x, residual)
    }

    /// A new mask for `x` in training, and ones in evaluation.
    pub(crate) fn draw_mask(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.draw(x, train)?.mask(x)
    }

    /// The draw for an activation. Where folded passes lie side by side in `x`, each has a mask of its own.
    fn draw(&self, x: &Tensor, train: bool) -> Result<Draw<'_>> {
        let kind = self.check(x)?;
        let shape = x.size();
        let mut size = self.shape.resolve(&shape)?;
        let p = self.effective_p(x, train);
        let mut repeats = 1;
        if !p.is_zero() {
            let passes = scope::record_draw(&shape)?;
            if passes > 1 {
                let rows = shape[0] / passes;
                size = self.shape.resolve(&[&[rows], &shape[1..]].concat())?;
                repeats = rows / size[0];
                size[0] *= passes;
            }
        }
        Ok(Draw { noise: self, p, size, kind, repeats })
    }

    /// The draw for a weight that a batch is multiplied by: a mask of the weight's own shape, one for each of
    /// the passes that lie side by side in the batch.
    pub(crate) fn draw_weight(
        &self,
        weight: &Tensor,
        batch: &Tensor,
        train: bool,
    ) -> Result<Draw<'_>> {
        let kind = self.check(weight)?;
        let p = self.effective_p(batch, train);
        let mut size = weight.size();
        if !p.is_zero() {
            let passes = scope::record_draw(&batch.size())?;
            if passes > 1 {
                size.insert(0, passes);
            }
        }
        Ok(Draw { noise: self, p, size, kind, repeats: 1 })
    }

    /// What is asked of an input in training and evaluation alike. Returns its mask's kind.
    fn check(&self, x: &Tensor) -> Result<Kind> {
        if x.is_sparse() || x.is_mkldnn() || x.f_sparse_dim()? > 0 {
            return Err(Error::Layout);
        }
        mask_kind(x.kind(), self.rescale)
    }

    /// A layer that sleeps drops with probability 0, and so does one with nothing to drop.
    fn effective_p(&self, x: &Tensor, train: bool) -> Probability {
        let active = (train || scope::is_active()) && x.numel() > 0;
        if active { self.p.load() } else { Probability::ZERO }
    }
}

/// What libtorch says of a residual that does not fit, before a mask is drawn: an error takes no step.
fn check_residual(x: &Tensor, residual: &Tensor) -> Result<()> {
    if residual.device() != x.device() || residual.size() != x.size() {
        let _ = residual.f_add(x)?;
    }
    Ok(())
}

/// One forward's draw, with everything known but the random numbers.
pub(crate) struct Draw<'a> {
    noise: &'a Noise,
    p: Probability,
    /// The mask's size, before `repeats`.
    size: Vec<i64>,
    kind: Kind,
    /// Rows in which folded passes repeat each row of the mask.
    repeats: i64,
}

/// A mask, where its numbers come from.
enum Source {
    /// Philox on the CPU; not stored yet.
    Counter(ImplicitMask),
    /// libtorch's generator, on the input's device or in a trace.
    Libtorch(Tensor),
}

impl Draw<'_> {
    /// The mask's size, before folded passes repeat it.
    pub(crate) fn size(&self) -> &[i64] {
        &self.size
    }

    /// `x` times the mask; plus `residual`, if there is one.
    pub(crate) fn multiply(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let y = if self.p.is_zero() {
            self.identity(x)?
        } else if self.is_fused(x) {
            x.f_dropout(self.p.get(), true)?
        } else {
            match self.source(x)? {
                Source::Counter(mask)
                    if self.repeats == 1
                        && mask.size() == x.size()
                        && x.device() == Device::Cpu =>
                {
                    return product(&mask, x, residual);
                }
                Source::Counter(mask) => {
                    x.f_mul(&self.repeated(mask.stored()?.f_to_device(x.device())?)?)?
                }
                Source::Libtorch(mask) => x.f_mul(&self.repeated(mask)?)?,
            }
        };
        match residual {
            Some(residual) => Ok(residual.f_add(&y)?),
            None => Ok(y),
        }
    }

    /// The mask, on `x`'s device.
    pub(crate) fn mask(&self, x: &Tensor) -> Result<Tensor> {
        if self.p.is_zero() {
            return Ok(Tensor::f_ones(&self.size, (self.kind, x.device()))?);
        }
        if self.is_fused(x) {
            return Ok(x.f_ones_like()?.f_dropout(self.p.get(), true)?);
        }
        self.repeated(match self.source(x)? {
            Source::Counter(mask) => mask.stored()?.f_to_device(x.device())?,
            Source::Libtorch(mask) => mask,
        })
    }

    /// Folded passes repeat each row of the mask that their rows share.
    fn repeated(&self, mask: Tensor) -> Result<Tensor> {
        match self.repeats {
            1 => Ok(mask),
            repeats => Ok(mask.f_repeat_interleave_self_int(repeats, 0, None)?),
        }
    }

    /// `x` itself, of the kind that it has in training.
    fn identity(&self, x: &Tensor) -> Result<Tensor> {
        match real_kind(x.kind()) {
            None if self.kind != x.kind() => Ok(x.f_to_kind(self.kind)?),
            _ => Ok(x.shallow_clone()),
        }
    }

    /// Whether this is libtorch's own dropout, on a GPU, where it draws, rescales and multiplies in one
    /// kernel, or in a trace.
    fn is_fused(&self, x: &Tensor) -> bool {
        self.noise.stream.is_none()
            && self.noise.rescale
            && self.repeats == 1
            && self.kind == x.kind()
            && self.size == x.size()
            && real_kind(x.kind()) == Some(x.kind())
            && (x.device().is_cuda() || trace::is_tracing())
    }

    fn source(&self, x: &Tensor) -> Result<Source> {
        let counter = match &self.noise.stream {
            Some(_) if trace::is_tracing() => return Err(Error::Traced),
            None if trace::is_tracing() => return self.drawn_by_libtorch(self.like_noise(x)?),
            Some(stream) => stream.advance(),
            None if x.device() == Device::Cpu => Counter::from_libtorch()?,
            None => {
                let mask = Tensor::f_empty(&self.size, (self.kind, x.device()))?;
                return self.drawn_by_libtorch(mask);
            }
        };
        // A seed's mask is drawn in the order of its indices, so that it does not depend on x's memory format.
        let seeded = self.noise.stream.is_some();
        let layout = if !seeded && self.size == x.size() && self.kind == x.kind() {
            Layout::like(x)?
        } else {
            Layout::contiguous(&self.size, self.kind)
        };
        Ok(Source::Counter(ImplicitMask::new(counter, self.p, self.keep_value(), layout)))
    }

    /// Drawn by libtorch's generator, into a tensor of the mask's size and kind.
    fn drawn_by_libtorch(&self, mut mask: Tensor) -> Result<Source> {
        mask = mask.f_bernoulli_float_(1.0 - self.p.get())?;
        if self.keep_value() != 1.0 {
            mask = mask.f_mul_scalar_(self.keep_value())?;
        }
        Ok(Source::Libtorch(mask))
    }

    /// A tensor of the mask's size and kind, made from `x` by operations that a trace records, so that the
    /// traced model takes batches of any size.
    fn like_noise(&self, x: &Tensor) -> Result<Tensor> {
        let mut like = x.shallow_clone();
        for (dim, (&noise, size)) in self.size.iter().zip(x.size()).enumerate() {
            if noise != size {
                like = like.f_narrow(dim as i64, 0, noise)?;
            }
        }
        Ok(like.f_to_kind(self.kind)?.f_empty_like()?)
    }

    /// What a kept element is multiplied by.
    fn keep_value(&self) -> f64 {
        if self.noise.rescale { self.p.scale() } else { 1.0 }
    }
}

/// What every layer that holds a `noise` offers: its probability, and its stream.
macro_rules! noise_methods {
    () => {
        /// The probability that an element is dropped.
        ///
        /// ```
        /// assert_eq!(tch_dropout::TrueDropout::elements(0.5)?.p(), 0.5);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn p(&self) -> f64 {
            self.noise.p()
        }

        /// Changes the probability from the next forward on, as a schedule does. Other threads may use the
        /// layer meanwhile.
        ///
        /// ```
        /// let layer = tch_dropout::TrueDropout::elements(0.0)?;
        /// for epoch in 0..10 {
        ///     layer.set_p(0.5 * f64::from(epoch) / 9.0)?;
        /// }
        /// assert_eq!(layer.p(), 0.5);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`; then the layer keeps
        /// the one that it has.
        pub fn set_p(&self, p: f64) -> $crate::error::Result<()> {
            self.noise.set_p(p)
        }

        /// The layer's own random numbers: their seed, worker, layer and step. `None` for a layer that follows
        /// [`tch::manual_seed`].
        ///
        /// ```
        /// use tch_dropout::{Stream, TrueDropout};
        ///
        /// let layer = TrueDropout::elements(0.5)?.with_seed(7);
        /// assert_eq!(layer.stream().map(Stream::seed), Some(7));
        /// assert!(TrueDropout::elements(0.5)?.stream().is_none());
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn stream(&self) -> Option<&$crate::rng::stream::Stream> {
            self.noise.stream.as_ref()
        }

        /// Gives the layer random numbers of its own. A layer that has a [`Stream`](crate::Stream) already keeps
        /// its worker and layer numbers.
        ///
        /// Two layers with the same seed drop the same places: give each its own, or see
        /// [`Streams`](crate::Streams).
        ///
        /// ```
        /// use tch::{nn::ModuleT, Device, Kind, Tensor};
        /// use tch_dropout::TrueDropout;
        ///
        /// let x = Tensor::ones([2, 100], (Kind::Float, Device::Cpu));
        /// let first = TrueDropout::elements(0.5)?.with_seed(7).forward_t(&x, true);
        /// let again = TrueDropout::elements(0.5)?.with_seed(7).forward_t(&x, true);
        /// assert_eq!(first, again);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn with_seed(mut self, seed: u64) -> Self {
            let stream =
                self.noise.stream.take().unwrap_or_else(|| $crate::rng::stream::Stream::new(seed));
            self.with_stream(stream.with_seed(seed))
        }

        /// Gives the layer a [`Stream`](crate::Stream) of its own.
        ///
        /// Its masks are the same on every device. On a GPU they cost more than those of a layer without a
        /// stream: they are drawn on the CPU and copied.
        ///
        /// ```
        /// use tch_dropout::{Stream, TrueDropout};
        /// let layer = TrueDropout::elements(0.5)?.with_stream(Stream::new(7).with_worker(3));
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn with_stream(mut self, stream: $crate::rng::stream::Stream) -> Self {
            self.noise.stream = Some(stream);
            self
        }
    };
}
pub(crate) use noise_methods;
