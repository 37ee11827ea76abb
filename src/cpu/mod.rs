//! Masks on the CPU: random bits against a threshold, written into memory on all threads.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `bernoulli` | which elements of a tile are kept |
//! | `fill` | what is written for them |
//! | `number` | half precision's arithmetic |
//! | `dispatch` | this CPU's best instructions |
//! | `memory` | tensors as slices |
//! | `large` | memory for large tensors, without gaps |
//! | `openmp` | libtorch's own threads |

mod bernoulli;
mod dispatch;
mod fill;
mod large;
mod memory;
mod number;
mod openmp;
#[cfg(test)]
mod tests;

use half::{bf16, f16};
use tch::{Kind, Tensor};

use self::bernoulli::Bernoulli;
use self::fill::{Mask, Product, Sum};
use self::memory::{Element, elements_of, filled};
use self::number::{Number, Word};
use crate::error::{Error, Result};
use crate::probability::Probability;
use crate::rng::counter::Counter;

pub(crate) use self::memory::Layout;

/// A mask that is defined by its random numbers, and need not be stored: 0 with probability `p`, else the
/// keep value. Its elements are drawn in the order of memory.
#[derive(Clone, Debug)]
pub(crate) struct ImplicitMask {
    bernoulli: Bernoulli,
    keep_value: f64,
    layout: Layout,
}

impl ImplicitMask {
    pub(crate) fn new(counter: Counter, p: Probability, keep_value: f64, layout: Layout) -> Self {
        ImplicitMask { bernoulli: Bernoulli::new(counter, p), keep_value, layout }
    }

    pub(crate) fn size(&self) -> &[i64] {
        &self.layout.size
    }

    /// The mask itself.
    pub(crate) fn stored(&self) -> Result<Tensor> {
        // Only a kind's width matters, since a mask has only two bit patterns. Half precision is rounded via
        // single precision, as in libtorch.
        let keep = self.keep_value;
        match self.layout.kind {
            Kind::Float => self.words((keep as f32).to_bits()),
            Kind::Double => self.words(keep.to_bits()),
            Kind::Half => self.words(f16::from_f32(keep as f32).to_bits()),
            Kind::BFloat16 => self.words(bf16::from_f32(keep as f32).to_bits()),
            Kind::Uint8 | Kind::Int8 | Kind::Bool => self.words(keep as u8),
            Kind::Int16 => self.words(keep as u16),
            Kind::Int => self.words(keep as u32),
            Kind::Int64 => self.words(keep as u64),
            kind => Err(Error::Kind(kind)),
        }
    }

    fn words<W: Word>(&self, keep_value: W) -> Result<Tensor> {
        filled(&self.layout, &self.bernoulli, &Mask { keep_value })
    }

    /// `x` times the mask in one pass, without the mask and outside of libtorch's graph; plus `residual`, if
    /// there is one. `None` for tensors of other kinds, layouts or devices than the mask's.
    pub(crate) fn times(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Option<Tensor>> {
        let keep = self.keep_value;
        match self.layout.kind {
            Kind::Float => self.products::<f32>(x, residual, keep as f32),
            Kind::Double => self.products::<f64>(x, residual, keep),
            Kind::Half => self.products::<f16>(x, residual, f16::from_f32(keep as f32).into()),
            Kind::BFloat16 => {
                self.products::<bf16>(x, residual, bf16::from_f32(keep as f32).into())
            }
            _ => Ok(None),
        }
    }

    fn products<T: Number + Element>(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        keep_value: T::Wide,
    ) -> Result<Option<Tensor>> {
        let Some(x) = elements_of::<T>(x, &self.layout) else { return Ok(None) };
        let product = Product { x, keep_value };
        let Some(residual) = residual else {
            return filled(&self.layout, &self.bernoulli, &product).map(Some);
        };
        let Some(residual) = elements_of::<T>(residual, &self.layout) else { return Ok(None) };
        filled(&self.layout, &self.bernoulli, &Sum { product, residual }).map(Some)
    }
}
