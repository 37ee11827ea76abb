//! What every layer holds, and how it becomes a mask.

use tch::{Device, Kind, Tensor};

use crate::ambient;
use crate::error::{Error, Result};
use crate::mask::{apply_mask, real};
use crate::random::{self, Origin};
use crate::{NoiseShape, Probability, Stream};

/// Whether kept entries of a mask are 1, or 1 / (1 - p).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaling {
    Unscaled,
    Rescale,
}

/// What every layer holds: how likely an entry is dropped, with which others, and by whose numbers.
#[derive(Debug)]
pub(crate) struct Noise {
    pub(crate) p: Probability,
    pub(crate) shape: NoiseShape,
    /// Without one, libtorch's own generator decides.
    pub(crate) stream: Option<Stream>,
}

impl Noise {
    pub(crate) fn new(p: f64) -> Result<Self> {
        Ok(Noise { p: Probability::new(p)?, shape: NoiseShape::default(), stream: None })
    }

    /// Whether a forward pass is the identity, so that nothing need be drawn.
    pub(crate) fn is_identity(&self, x: &Tensor, train: bool) -> bool {
        !(train || ambient::awake()) || self.drops_nothing(x)
    }

    fn drops_nothing(&self, x: &Tensor) -> bool {
        self.p.get() == 0.0 || x.numel() == 0
    }

    pub(crate) fn step(&self) -> Option<u64> {
        self.stream.as_ref().map(Stream::step)
    }

    pub(crate) fn set_step(&self, step: u64) -> Result<()> {
        self.stream.as_ref().ok_or(Error::NoStream(step))?.set_step(step)
    }

    /// `x` times a new mask.
    ///
    /// Where `x` needs no gradient, and nobody will ask for the mask, the product takes its place in
    /// memory: fresh memory costs more than the multiplication.
    pub(crate) fn apply(&self, x: &Tensor, scaling: Scaling) -> Result<Tensor> {
        if self.is_fused(x, scaling)? {
            return self.libtorchs_own(x);
        }
        let mut mask = self.draw(x, scaling)?;
        if !x.requires_grad() && looks_like(&mask, x) {
            Ok(mask.f_mul_(x)?)
        } else {
            apply_mask(x, &mask)
        }
    }

    /// Whether this is libtorch's own dropout on a GPU, which there draws, rescales and multiplies in one
    /// kernel, where a mask takes three.
    fn is_fused(&self, x: &Tensor, scaling: Scaling) -> Result<bool> {
        fold_of(x)?; // What cannot be folded is an error on any device.
        Ok(x.device().is_cuda()
            && self.stream.is_none()
            && scaling == Scaling::Rescale
            && real(x.kind()) == Some(x.kind())
            && self.shape.resolve(&x.size())? == x.size())
    }

    fn libtorchs_own(&self, x: &Tensor) -> Result<Tensor> {
        ambient::note_draw();
        Ok(x.f_dropout(self.p.get(), true)?)
    }

    /// Draws the mask for `x`. Where passes of Monte Carlo dropout lie side by side in `x`, each has a
    /// mask of its own, repeated over its rows if they share one.
    pub(crate) fn draw(&self, x: &Tensor, scaling: Scaling) -> Result<Tensor> {
        if self.is_fused(x, scaling)? {
            return self.libtorchs_own(&x.f_ones_like()?);
        }
        let (fold, mut size) = (fold_of(x)?, x.size());
        if fold == 1 {
            return self.draw_sized(x, &self.shape.resolve(&size)?, scaling);
        }
        size[0] /= fold;
        let mut noise = self.shape.resolve(&size)?;
        let repeats = size[0] / noise[0].max(1);
        noise[0] *= fold;
        let mask = self.draw_sized(x, &noise, scaling)?;
        if repeats == 1 {
            return Ok(mask);
        }
        Ok(mask.f_repeat_interleave_self_int(repeats, 0, None)?)
    }

    /// Draws a mask of this size, on `x`'s device and of the kind that multiplies with `x`. Where there is
    /// nothing to drop, nothing is drawn.
    pub(crate) fn draw_sized(&self, x: &Tensor, size: &[i64], scaling: Scaling) -> Result<Tensor> {
        let kind = mask_kind(x.kind(), scaling)?;
        if x.is_sparse() || x.is_mkldnn() {
            return Err(Error::Layout);
        }
        let kept = self.kept(scaling);
        if self.drops_nothing(x) {
            return Ok(Tensor::f_full(size, kept, (kind, x.device()))?);
        }
        ambient::note_draw();
        match (&self.stream, x.device()) {
            (Some(stream), device) => {
                let mask = random::mask(stream.advance(), self.p, kept, size, kind)?;
                Ok(mask.f_to_device(device)?)
            }
            (None, Device::Cpu) => {
                let origin = Origin::from_libtorch()?;
                if size == x.size() && kind == x.kind() {
                    random::mask_like(origin, self.p, kept, x)
                } else {
                    random::mask(origin, self.p, kept, size, kind)
                }
            }
            (None, device) => on_device(self.p, kept, size, kind, device),
        }
    }

    /// What a kept entry of a mask is. None is kept at `p = 1`, where `1 / (1 - p)` is infinite, and 0
    /// times infinity NaN.
    fn kept(&self, scaling: Scaling) -> f64 {
        match scaling {
            Scaling::Unscaled => 1.0,
            Scaling::Rescale if self.p.get() == 1.0 => 0.0,
            Scaling::Rescale => self.p.scale(),
        }
    }
}

/// How many passes lie side by side in `x`. In a weight there is none of them, though its size may fit;
/// no activation requires a gradient there.
fn fold_of(x: &Tensor) -> Result<i64> {
    match ambient::fold_of(&x.size())? {
        fold if fold > 1 && x.requires_grad() => Err(Error::FoldedWeight(x.size())),
        fold => Ok(fold),
    }
}

/// A mask drawn where `x` is, by libtorch's generator of that device.
fn on_device(
    p: Probability,
    kept: f64,
    size: &[i64],
    kind: Kind,
    device: Device,
) -> Result<Tensor> {
    let mut mask = Tensor::f_empty(size, (kind, device))?.f_bernoulli_float_(1.0 - p.get())?;
    if kept != 1.0 {
        mask = mask.f_mul_scalar_(kept)?;
    }
    Ok(mask)
}

/// Whether the one could stand in the other's place, memory format included.
fn looks_like(mask: &Tensor, x: &Tensor) -> bool {
    mask.kind() == x.kind() && mask.size() == x.size() && mask.stride() == x.stride()
}

/// The kind of a mask for an `x` of this kind: the same, but real for complex numbers, and with a
/// fraction where integers are rescaled.
fn mask_kind(x: Kind, scaling: Scaling) -> Result<Kind> {
    use Kind::*;
    match (x, scaling) {
        (Uint8 | Int8 | Int16 | Int | Int64 | Bool, Scaling::Unscaled) => Ok(x),
        (Uint8 | Int8 | Int16 | Int | Int64 | Bool, Scaling::Rescale) => Ok(Float),
        _ => real(x).ok_or(Error::Kind(x)),
    }
}
