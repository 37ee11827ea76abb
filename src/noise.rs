//! What every layer holds, and what it checks of an input before it draws.

use std::fmt;

use tch::{Kind, Tensor};

use crate::checkpoint::replay;
use crate::draw::Draw;
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::kind::{is_complex, mask_kind};
use crate::monte_carlo::scope;
use crate::noise_shape::NoiseShape;
use crate::probability::{AtomicProbability, Probability};
use crate::rng::stream::Stream;
use crate::strided::check_strided;

/// What every layer holds: the probability, which elements share a draw, what it makes of them, and where the
/// random numbers come from.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    p: AtomicProbability,
    pub(crate) shape: NoiseShape,
    effect: Effect,
    /// Without one, libtorch's generator decides.
    pub(crate) stream: Option<Stream>,
}

impl Noise {
    /// Drops elements, and rescales the others or not.
    pub(crate) fn new(p: f64, shape: NoiseShape, rescale: bool) -> Result<Self> {
        Noise::with_effect(p, shape, if rescale { Effect::Rescale } else { Effect::Drop })
    }

    pub(crate) fn with_effect(p: f64, shape: NoiseShape, effect: Effect) -> Result<Self> {
        let p = AtomicProbability::new(checked(p, effect)?);
        Ok(Noise { p, shape, effect, stream: None })
    }

    pub(crate) fn p(&self) -> f64 {
        self.p.load().get()
    }

    /// Whether kept elements are multiplied by `1 / (1 - p)`.
    pub(crate) fn rescales(&self) -> bool {
        matches!(self.effect, Effect::Rescale)
    }

    pub(crate) fn set_p(&self, p: f64) -> Result<()> {
        self.p.store(checked(p, self.effect)?);
        Ok(())
    }

    /// A layer as it prints itself, with its stream's numbers before the last bracket: one that a model has forgotten to
    /// seed has none.
    pub(crate) fn debug(
        &self,
        layer: &dyn fmt::Display,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let text = layer.to_string();
        let Some(stream) = &self.stream else { return f.write_str(&text) };
        let open = text.strip_suffix(')').unwrap_or(&text);
        let (seed, worker, layer, step) =
            (stream.seed(), stream.worker(), stream.layer(), stream.step());
        write!(f, "{open}, seed={seed}, worker={worker}, layer={layer}, step={step})")
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

    /// A new mask for `x`, or `None` if nothing is dropped: for a layer that then does something else. It asks
    /// for `p` once, as another thread may set it between two questions.
    pub(crate) fn draw_mask_if_active(&self, x: &Tensor, train: bool) -> Result<Option<Tensor>> {
        let draw = self.draw(x, train)?;
        if draw.p.is_zero() { Ok(None) } else { draw.mask(x).map(Some) }
    }

    /// A new mask for `x` as numbers, or `None` if nothing is dropped: see [`Draw::factors`].
    pub(crate) fn draw_factors(&self, x: &Tensor, train: bool) -> Result<Option<Vec<f64>>> {
        let draw = self.draw(x, train)?;
        if draw.p.is_zero() {
            return Ok(None);
        }
        Draw { kind: Kind::Double, ..draw }.factors(x).map(Some)
    }

    fn draw(&self, x: &Tensor, train: bool) -> Result<Draw<'_>> {
        self.draw_at(self.active_p(train)?, x)
    }

    /// The draw for an activation, with a `p` that the layer has asked for. Where folded passes lie side by side in
    /// `x`, each has a mask of its own.
    pub(crate) fn draw_at(&self, p: Probability, x: &Tensor) -> Result<Draw<'_>> {
        let kind = self.check(x)?;
        let shape = x.size();
        let mut size = self.shape.resolve(&shape)?;
        let p = p_of_input(p, x, || self.shape.shared_dims(x.dim()).first() == Some(&true))?;
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
        Ok(self.draw_of(p, size, kind, repeats))
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
        let p = self.effective_p(batch, train, true)?;
        let mut size = weight.size();
        if !p.is_zero() {
            let passes = scope::record_draw(&batch.size())?;
            if passes > 1 {
                size.insert(0, passes);
            }
        }
        Ok(self.draw_of(p, size, kind, 1))
    }

    /// For a layer that computes another probability from its own: which elements of `like` are kept, if one is dropped
    /// with probability `p`, in this kind; and how many passes lie side by side in it.
    pub(crate) fn draw_elements(
        &self,
        like: &Tensor,
        p: f64,
        effect: Effect,
        kind: Kind,
    ) -> Result<(Tensor, i64)> {
        let p = Probability::new(p)?;
        let passes = scope::record_draw(&like.size())?;
        let draw = self.draw_of(p, like.size(), kind, 1);
        Ok((Draw { shape: &NoiseShape::Elements, effect, ..draw }.mask(like)?, passes))
    }

    /// For a layer that makes a mask of them: a standard normal number for each draw, in f32 or f64, or `None` if nothing is
    /// dropped.
    pub(crate) fn draw_normal_if_active(&self, x: &Tensor, train: bool) -> Result<Option<Tensor>> {
        let draw = self.draw(x, train)?;
        if draw.p.is_zero() {
            return Ok(None);
        }
        let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let around_one = Draw { kind, effect: Effect::Normal(|_| 1.0), ..draw }.mask(x)?;
        Ok(Some(around_one.f_sub_scalar(1.0)?))
    }

    /// For a layer that ranks: an independent random number for each element of `like`, all of the same
    /// distribution.
    pub(crate) fn draw_keys(&self, like: &Tensor) -> Result<Tensor> {
        scope::record_draw(&like.size())?;
        let any = Probability::new(0.5)?; // Of no effect on these numbers, but 0 would draw none.
        let draw = self.draw_of(any, like.size(), Kind::Float, 1);
        Draw { shape: &NoiseShape::Elements, effect: Effect::Normal(|_| 1.0), ..draw }.mask(like)
    }

    fn draw_of(&self, p: Probability, size: Vec<i64>, kind: Kind, repeats: i64) -> Draw<'_> {
        let Noise { shape, effect, stream, .. } = self;
        Draw { p, shape, effect: *effect, stream: stream.as_ref(), size, kind, repeats }
    }

    /// Checks an input, in training and evaluation alike. Returns its mask's kind.
    pub(crate) fn check(&self, x: &Tensor) -> Result<Kind> {
        check_strided(x)?;
        match self.effect {
            // A constant in place of a complex number: nothing says which.
            Effect::Affine(_) if is_complex(x.kind()) => Err(Error::Kind(x.kind())),
            effect => mask_kind(x.kind(), !matches!(effect, Effect::Drop)),
        }
    }

    /// The layer's `p`, for one that asks for it before it draws, or does not draw. Not [`p`](Self::p): where a
    /// checkpoint runs a segment again, it is that of the first run.
    pub(crate) fn current_p(&self) -> Result<Probability> {
        replay::probability(self.p.load())
    }

    /// The layer's `p`, but 0 in evaluation (except under Monte Carlo dropout).
    pub(crate) fn active_p(&self, train: bool) -> Result<Probability> {
        let active = train || scope::is_active();
        replay::probability(if active { self.p.load() } else { Probability::ZERO })
    }

    /// [`active_p`](Self::active_p), but 0 for an empty `x`, and while folded passes are rehearsed. Then it checks the
    /// input of a layer of which the batch's rows share something.
    pub(crate) fn effective_p(&self, x: &Tensor, train: bool, shared: bool) -> Result<Probability> {
        p_of_input(self.active_p(train)?, x, || shared)
    }
}

fn p_of_input(p: Probability, x: &Tensor, shared: impl FnOnce() -> bool) -> Result<Probability> {
    if p.is_zero() || x.numel() == 0 {
        return Ok(Probability::ZERO);
    }
    if !scope::is_rehearsal() {
        return Ok(p);
    }
    if shared() {
        scope::check_copies(x)?;
    }
    Ok(Probability::ZERO)
}

fn checked(p: f64, effect: Effect) -> Result<Probability> {
    match effect {
        Effect::Normal(_) if p == 1.0 => Err(Error::InfiniteVariance),
        _ => Probability::new(p),
    }
}

/// Checks a residual before a mask is drawn, so that an error takes no step.
fn check_residual(x: &Tensor, residual: &Tensor) -> Result<()> {
    check_strided(x)?;
    check_strided(residual)?;
    if residual.device() != x.device() {
        let _ = residual.f_add(x)?;
    }
    let (input, residual) = (x.size(), residual.size());
    let mut dims = input.iter().rev().zip(residual.iter().rev());
    match dims.all(|(&x, &residual)| x == residual || x == 1 || residual == 1) {
        true => Ok(()),
        false => Err(Error::ResidualShape { residual, input }),
    }
}

/// What every layer that holds a `noise` offers: its stream.
macro_rules! stream_methods {
    () => {
        /// The layer's own random numbers: their seed, worker, layer and step. `None` for a layer that
        /// follows [`tch::manual_seed`].
        ///
        /// Where the layer can be cloned, a clone's stream starts at the original's step and then counts by
        /// itself, so it repeats the original's masks.
        ///
        /// ```
        /// use tch_dropout::{Stream, TrueDropout};
        ///
        /// let layer = TrueDropout::elements(0.5)?.with_seed(7);
        /// assert_eq!(layer.stream().map(Stream::seed), Some(7));
        /// assert!(TrueDropout::elements(0.5)?.stream().is_none());
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        ///
        /// [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
        pub fn stream(&self) -> Option<&$crate::rng::stream::Stream> {
            self.noise.stream.as_ref()
        }

        /// Gives the layer random numbers of its own. A layer that has a [`Stream`](crate::Stream) already
        /// keeps its worker and layer numbers, and starts at step 0; if that stream came from
        /// [`Streams`](crate::Streams), they no longer track its step.
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
        /// Its masks are the same on every device.
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

        /// Gives the layer the next of a model's streams. `{:?}` prints its numbers, so that a layer without one shows.
        ///
        /// ```
        /// use tch_dropout::{Streams, TrueDropout};
        ///
        /// let streams = Streams::new(42);
        /// let layer = TrueDropout::elements(0.5)?.with_streams(&streams)?;
        /// let text = format!("{layer:?}");
        /// assert_eq!(text, "TrueDropout(p=0.5, elements, seed=42, worker=0, layer=0, step=0)");
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// Those of [`Streams::next_stream`](crate::Streams::next_stream).
        pub fn with_streams(
            self,
            streams: &$crate::rng::streams::Streams,
        ) -> $crate::error::Result<Self> {
            Ok(self.with_stream(streams.next_stream()?))
        }
    };
}
pub(crate) use stream_methods;

/// What most of them offer, too: their probability.
macro_rules! noise_methods {
    () => {
        /// The layer's `p`.
        ///
        /// ```
        /// assert_eq!(tch_dropout::TrueDropout::elements(0.5)?.p(), 0.5);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn p(&self) -> f64 {
            self.noise.p()
        }

        /// Changes `p` from the next forward pass on, as a schedule does. Other threads may be
        /// using the layer.
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
        /// its old one.
        pub fn set_p(&self, p: f64) -> $crate::error::Result<()> {
            self.noise.set_p(p)
        }

        $crate::noise::stream_methods!();
    };
}
pub(crate) use noise_methods;

/// What every layer offers that works over any noise shape.
macro_rules! noise_shape_methods {
    () => {
        /// The same layer over another noise shape, for a shape that is chosen at run time.
        ///
        /// ```
        /// use tch_dropout::{NoiseShape, TrueDropout};
        ///
        /// let shape = NoiseShape::Channels;
        /// let layer = TrueDropout::elements(0.5)?.with_noise_shape(shape);
        /// assert_eq!(layer.noise_shape(), &NoiseShape::Channels);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn with_noise_shape(mut self, shape: $crate::noise_shape::NoiseShape) -> Self {
            self.noise.shape = shape;
            self
        }

        /// Which elements share a draw.
        ///
        /// ```
        /// use tch_dropout::{NoiseShape, TrueDropout};
        /// assert_eq!(TrueDropout::elements(0.5)?.noise_shape(), &NoiseShape::Elements);
        /// # Ok::<(), tch_dropout::Error>(())
        /// ```
        pub fn noise_shape(&self) -> &$crate::noise_shape::NoiseShape {
            &self.noise.shape
        }
    };
}
pub(crate) use noise_shape_methods;
