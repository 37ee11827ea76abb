//! One draw, and the way from `x` to its mask or its product.

use tch::{Device, Kind, Tensor};

#[cfg(recompute)]
use crate::autograd::setting::{random64, take_offset};
use crate::checkpoint::replay;
use crate::cuda;
use crate::effect::{Effect, Outcome};
use crate::error::{Error, Result};
use crate::implicit_mask::ImplicitMask;
use crate::kind::real_kind;
use crate::layout::Layout;
use crate::noise_shape::NoiseShape;
use crate::numbers::Numbers;
use crate::probability::Probability;
use crate::product::{broadcast_product, product, repeat_rows};
use crate::rng::counter::Counter;
use crate::rng::stream::Stream;
use crate::trace;

/// One draw, with everything known but the random numbers.
pub(crate) struct Draw<'a> {
    /// 0 in evaluation.
    pub(crate) p: Probability,
    pub(crate) shape: &'a NoiseShape,
    pub(crate) effect: Effect,
    pub(crate) stream: Option<&'a Stream>,
    /// The mask's size, before `repeats`.
    pub(crate) size: Vec<i64>,
    /// The mask's kind.
    pub(crate) kind: Kind,
    /// How many times folded passes repeat each row of the mask.
    pub(crate) repeats: i64,
}

/// A mask, by the source of its random numbers.
enum Source {
    /// Philox; not stored yet.
    Counter(ImplicitMask),
    /// libtorch's generator for the input's device.
    Stored(Tensor),
}

impl Draw<'_> {
    /// `x` times the mask; plus `residual`, if there is one.
    pub(crate) fn multiply(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let y = if self.p.is_zero() {
            self.identity(x)?
        } else if self.is_fused(x) {
            x.f_dropout(self.p.get(), true)?
        } else {
            match self.source(x)? {
                Source::Counter(mask) if self.repeats == 1 && mask.size() == x.size() => {
                    return product(&mask, x, residual);
                }
                Source::Counter(mask) => broadcast_product(&mask, self.repeats, x)?,
                Source::Stored(mask) => self.apply(x, mask)?,
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
            return self.ones(x);
        }
        if self.is_fused(x) {
            return Ok(x.f_ones_like()?.f_dropout(self.p.get(), true)?);
        }
        let mask = match self.source(x)? {
            Source::Counter(mask) => mask.stored()?,
            Source::Stored(mask) => mask,
        };
        repeat_rows(mask, self.repeats)
    }

    /// The mask of kind `Double` as numbers, for a layer that must know them before it goes on. They are drawn on the CPU
    /// for any `x`, as it would have to wait for those of another device. That device's generator decides all the same, if
    /// it gives keys.
    pub(crate) fn factors(&self, x: &Tensor) -> Result<Vec<f64>> {
        let here = Tensor::f_empty(&self.size, (self.kind, Device::Cpu))?;
        let mask = match self.counter(x)? {
            Some(counter) => self.implicit(counter, &here)?.stored()?,
            None => self.mask(&here)?,
        };
        Ok(Vec::try_from(mask.f_flatten(0, -1)?)?)
    }

    /// The mask of a draw for each element of `x`, in the order of its indices. `None` where a draw is shared, where
    /// nothing is dropped, and where libtorch draws the mask.
    #[cfg(recompute)]
    pub(crate) fn per_element(&self, x: &Tensor) -> Result<Option<ImplicitMask>> {
        let is_whole = self.repeats == 1 && self.size == x.size();
        if self.p.is_zero() || trace::is_tracing() || !is_whole {
            return Ok(None);
        }
        let Some(counter) = self.counter(x)? else { return Ok(None) };
        let numbers = Numbers::new(counter, self.p, self.effect.at(self.p));
        let layout = Layout::contiguous(&self.size, self.kind);
        Ok(Some(ImplicitMask::new(numbers, layout, x.device())))
    }

    /// `x` times a stored mask, and what the effect adds to it.
    fn apply(&self, x: &Tensor, mask: Tensor) -> Result<Tensor> {
        let mask = repeat_rows(mask, self.repeats)?;
        let y = x.f_mul(&mask)?;
        match self.effect.at(self.p) {
            Outcome::Bernoulli(affine) => affine.apply(y, &mask),
            Outcome::Normal { .. } => Ok(y),
        }
    }

    /// The mask of a draw that drops nothing.
    fn ones(&self, x: &Tensor) -> Result<Tensor> {
        if trace::is_tracing() && x.numel() > 0 {
            return Ok(self.like_mask(x)?.f_ones_like()?);
        }
        Ok(Tensor::f_ones(&self.size, (self.kind, x.device()))?)
    }

    /// `x` itself, of the kind that it has in training.
    fn identity(&self, x: &Tensor) -> Result<Tensor> {
        match real_kind(x.kind()) {
            None if self.kind != x.kind() => Ok(x.f_to_kind(self.kind)?),
            _ => Ok(x.shallow_clone()),
        }
    }

    /// Whether this is libtorch's own dropout, in one operation: in a trace, which records it as such, and on a GPU that
    /// has no kernel of ours.
    fn is_fused(&self, x: &Tensor) -> bool {
        let per_element = || match trace::is_tracing() {
            // The trace's next input may have another size.
            true => !self.shape.shared_dims(x.dim()).contains(&true),
            false => x.device().is_cuda() && !has_key(x.device()) && self.size == x.size(),
        };
        self.stream.is_none()
            && matches!(self.effect, Effect::Rescale)
            && self.repeats == 1
            && real_kind(x.kind()) == Some(x.kind())
            && per_element()
    }

    fn source(&self, x: &Tensor) -> Result<Source> {
        if trace::is_tracing() {
            return match self.stream {
                Some(_) => Err(Error::Traced),
                None => self.drawn_by_libtorch(self.like_mask(x)?.f_empty_like()?),
            };
        }
        match self.counter(x)? {
            Some(counter) => Ok(Source::Counter(self.implicit(counter, x)?)),
            None => {
                let mask = Tensor::f_empty(&self.size, (self.kind, x.device()))?;
                self.drawn_by_libtorch(mask)
            }
        }
    }

    /// What decides the mask: the stream, or the generator of `x`'s device, if it gives keys.
    fn counter(&self, x: &Tensor) -> Result<Option<Counter>> {
        match self.stream {
            Some(stream) => replay::counter(|| stream.advance()).map(Some),
            None if has_key(x.device()) => {
                // Moves the generator in any case, for what others draw from it afterwards.
                let counter = counter_of_libtorch(x)?;
                replay::counter(|| counter).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The mask that a counter decides, on the device of `x`.
    fn implicit(&self, counter: Counter, x: &Tensor) -> Result<ImplicitMask> {
        // With a seed, a mask is drawn in the order of its indices, so it does not depend on x's memory
        // format.
        let seeded = self.stream.is_some();
        let layout = if !seeded && self.size == x.size() && self.kind == x.kind() {
            Layout::like(x)?
        } else {
            Layout::contiguous(&self.size, self.kind)
        };
        let numbers = Numbers::new(counter, self.p, self.effect.at(self.p));
        Ok(ImplicitMask::new(numbers, layout, x.device()))
    }

    /// Drawn by libtorch's generator, into a tensor of the mask's size and kind.
    fn drawn_by_libtorch(&self, mut mask: Tensor) -> Result<Source> {
        match self.effect.at(self.p) {
            Outcome::Bernoulli(affine) => {
                mask = mask.f_bernoulli_float_(1.0 - self.p.get())?;
                if affine.scale != 1.0 {
                    mask = mask.f_mul_scalar_(affine.scale)?;
                }
            }
            Outcome::Normal { deviation } => mask = mask.f_normal_(1.0, deviation)?,
        }
        Ok(Source::Stored(mask))
    }

    /// A tensor of the mask's size and kind, made from `x` by operations that a trace records, so that the
    /// traced model takes batches of any size.
    fn like_mask(&self, x: &Tensor) -> Result<Tensor> {
        let mut like = x.shallow_clone();
        for (dim, shared) in (0..).zip(self.shape.shared_dims(x.dim())) {
            if shared {
                like = like.f_narrow(dim, 0, 1)?;
            }
        }
        Ok(like.f_to_kind(self.kind)?)
    }
}

/// Whether a layer without a seed takes a key from this device's generator, from which the mask is drawn. Elsewhere,
/// libtorch draws it.
fn has_key(device: Device) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(gpu) => cfg!(recompute) && cuda::is_ready(gpu),
        _ => false,
    }
}

/// The counter of a draw that the generator of `x`'s device decides.
fn counter_of_libtorch(x: &Tensor) -> Result<Counter> {
    match x.device() {
        #[cfg(recompute)]
        Device::Cuda(_) => {
            let (seed, offset) = take_offset(x)?;
            Ok(Counter::of_generator(seed, offset))
        }
        #[cfg(recompute)]
        _ => Ok(Counter::of_libtorch(random64()?)),
        #[cfg(not(recompute))]
        _ => Ok(Counter::of_libtorch(element64()?)),
    }
}

/// 64 random bits of the CPU's generator, in a tensor of one element: without C++ there is no other way to ask.
#[cfg(any(not(recompute), test))]
fn element64() -> Result<u64> {
    let mut bits = Tensor::f_empty([], (Kind::Int64, Device::Cpu))?;
    Ok(i64::try_from(bits.f_random_from_(i64::MIN, None)?)? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bit that never changes would halve the number of masks that a process can draw.
    #[test]
    fn every_bit_of_libtorchs_key_is_drawn() {
        let x = Tensor::from(0.0);
        let keys = (0..100).map(|_| counter_of_libtorch(&x).unwrap().key());
        let (ever, always) = keys.fold((0, u64::MAX), |(or, and), key| (or | key, and & key));
        assert_eq!((ever, always), (u64::MAX, 0), "bits that are ever set, and always");
    }

    /// With C++ and without, a `manual_seed` gives the same masks. (Other tests may draw in between, but a hundred times?)
    #[cfg(recompute)]
    #[test]
    fn the_generator_gives_the_bits_that_it_gives_a_tensor() {
        assert!((0..100).any(|seed| {
            let draw = |bits: fn() -> Result<u64>| {
                tch::manual_seed(seed);
                [bits().unwrap(), bits().unwrap()]
            };
            draw(random64) == draw(element64)
        }));
    }
}
