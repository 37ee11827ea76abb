//! Masks on the CPU: random numbers, written into memory on all threads.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `source` | what is drawn for a tile |
//! | `bernoulli` | which of its elements are kept |
//! | `normal` | normal numbers |
//! | `fill` | what is written for its elements |
//! | `number` | half precision's arithmetic |
//! | `dispatch` | this CPU's best instructions |
//! | `memory` | tensors as slices |
//! | `large` | memory for large tensors, without gaps |
//! | `openmp` | libtorch's own threads |

pub(crate) mod bernoulli;
mod dispatch;
mod fill;
mod large;
mod memory;
pub(crate) mod normal;
mod number;
mod openmp;
mod source;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use half::{bf16, f16};
use tch::{Kind, Tensor};

use self::bernoulli::Bernoulli;
use self::fill::{Factors, Fill, Mask, Product, Scaled, Shift, Sum};
use self::memory::{Element, elements_of, filled};
use self::normal::Normal;
use self::number::{Number, Word};
use self::source::Source;
use crate::effect::{Affine, Outcome};
use crate::error::{Error, Result};
use crate::probability::Probability;
use crate::rng::counter::Counter;

pub(crate) use self::memory::Layout;
#[cfg(recompute)]
pub(crate) use self::memory::large_like;

/// A mask that is defined by its random numbers, and need not be stored. Its elements are drawn in the order
/// of memory.
#[derive(Clone, Debug)]
pub(crate) struct ImplicitMask {
    numbers: Numbers,
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Numbers {
    /// 0 with probability `p`, else the scale. Something may be added to the product with it.
    Bernoulli(Bernoulli, Affine),
    Normal(Normal),
}

impl ImplicitMask {
    pub(crate) fn new(counter: Counter, p: Probability, outcome: Outcome, layout: Layout) -> Self {
        let numbers = match outcome {
            Outcome::Bernoulli(affine) => Numbers::Bernoulli(Bernoulli::new(counter, p), affine),
            Outcome::Normal { deviation } => Numbers::Normal(Normal::new(counter, deviation)),
        };
        ImplicitMask { numbers, layout }
    }

    pub(crate) fn size(&self) -> &[i64] {
        &self.layout.size
    }

    /// What is added to the product of a number and this mask.
    pub(crate) fn shift(&self) -> Option<Affine> {
        match self.numbers {
            Numbers::Bernoulli(_, affine) if affine.has_shift() => Some(affine),
            _ => None,
        }
    }

    /// The same mask, to which nothing is added: that of the gradient.
    #[cfg(recompute)]
    pub(crate) fn without_shift(&self) -> Self {
        let numbers = match &self.numbers {
            Numbers::Bernoulli(bernoulli, affine) => {
                Numbers::Bernoulli(*bernoulli, Affine::times(affine.scale))
            }
            normal => normal.clone(),
        };
        ImplicitMask { numbers, layout: self.layout.clone() }
    }

    /// The mask itself.
    pub(crate) fn stored(&self) -> Result<Tensor> {
        match &self.numbers {
            Numbers::Bernoulli(bernoulli, affine) => self.stored_bits(bernoulli, affine.scale),
            Numbers::Normal(normal) => self.stored_factors(normal),
        }
    }

    fn stored_bits(&self, bernoulli: &Bernoulli, keep: f64) -> Result<Tensor> {
        // Only a kind's width matters, since a mask has only two bit patterns. Half precision is rounded via
        // single precision, as in libtorch.
        match self.layout.kind {
            Kind::Float => self.words(bernoulli, (keep as f32).to_bits()),
            Kind::Double => self.words(bernoulli, keep.to_bits()),
            Kind::Half => self.words(bernoulli, f16::from_f32(keep as f32).to_bits()),
            Kind::BFloat16 => self.words(bernoulli, bf16::from_f32(keep as f32).to_bits()),
            Kind::Uint8 | Kind::Int8 | Kind::Bool => self.words(bernoulli, keep as u8),
            Kind::Int16 => self.words(bernoulli, keep as u16),
            Kind::Int => self.words(bernoulli, keep as u32),
            Kind::Int64 => self.words(bernoulli, keep as u64),
            kind => Err(Error::Kind(kind)),
        }
    }

    fn words<W: Word>(&self, bernoulli: &Bernoulli, keep_value: W) -> Result<Tensor> {
        filled(&self.layout, bernoulli, &Mask { keep_value })
    }

    fn stored_factors(&self, normal: &Normal) -> Result<Tensor> {
        match self.layout.kind {
            Kind::Float => filled(&self.layout, normal, &Factors::<f32>(PhantomData)),
            Kind::Double => filled(&self.layout, normal, &Factors::<f64>(PhantomData)),
            Kind::Half => filled(&self.layout, normal, &Factors::<f16>(PhantomData)),
            Kind::BFloat16 => filled(&self.layout, normal, &Factors::<bf16>(PhantomData)),
            kind => Err(Error::Kind(kind)),
        }
    }

    /// `x` times the mask in one pass, without the mask and outside of libtorch's graph; plus `residual`, if
    /// there is one. `None` for tensors of other kinds, layouts or devices than the mask's.
    pub(crate) fn times(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Option<Tensor>> {
        match self.layout.kind {
            Kind::Float => self.products::<f32>(x, residual),
            Kind::Double => self.products::<f64>(x, residual),
            Kind::Half => self.products::<f16>(x, residual),
            Kind::BFloat16 => self.products::<bf16>(x, residual),
            _ => Ok(None),
        }
    }

    fn products<T: Number + Element>(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let Some(x) = elements_of::<T>(x, &self.layout) else { return Ok(None) };
        match &self.numbers {
            Numbers::Normal(normal) => self.sum(normal, Scaled { x }, residual),
            Numbers::Bernoulli(bernoulli, affine) => {
                let wide = |number| T::of(number).widen();
                let product = Product { x, keep_value: wide(affine.scale) };
                if affine.has_shift() {
                    let shift_kept = wide(affine.shift_kept);
                    let shift_dropped = wide(affine.shift_dropped);
                    self.sum(bernoulli, Shift { product, shift_kept, shift_dropped }, residual)
                } else {
                    self.sum(bernoulli, product, residual)
                }
            }
        }
    }

    fn sum<S: Source, T: Number + Element, F: Fill<S, Element = T>>(
        &self,
        source: &S,
        product: F,
        residual: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let Some(residual) = residual else {
            return filled(&self.layout, source, &product).map(Some);
        };
        let Some(residual) = elements_of::<T>(residual, &self.layout) else { return Ok(None) };
        filled(&self.layout, source, &Sum { product, residual }).map(Some)
    }
}
