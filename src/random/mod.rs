//! Masks in CPU memory, made from random bits.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `stream` | which numbers belong to a layer's k-th mask |
//! | `philox` | the numbers |
//! | `bits` | how numbers become dropped and kept entries |
//! | `memory` | how a tensor's memory is filled, on all threads, with the best instructions |

mod bits;
mod memory;
mod philox;
mod stream;

use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

pub use stream::Stream;

use crate::error::{Error, Result};
use crate::Probability;
use bits::Bits;
use memory::{Layout, Word};

/// Where a mask's random numbers begin: Philox's key and the fixed part of its counter.
///
/// The counter's high half is worker (16 bits) and step (48); its low half counts blocks of eight
/// elements, and its two top bits keep numbers of different use apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    key: u64,
    high: u64,
    low: u64,
}

/// Set in the low half for numbers whose key came from libtorch, so that none of them can be the
/// stream of a seed.
const FROM_LIBTORCH: u64 = 1 << 62;

impl Origin {
    fn of_stream(seed: u64, worker: u16, step: u64) -> Self {
        Origin { key: seed, high: u64::from(worker) << 48 | step, low: 0 }
    }

    /// One draw from libtorch's generator: `tch::manual_seed` decides the key, and so the mask.
    pub(crate) fn from_libtorch() -> Result<Self> {
        let mut key = Tensor::f_empty([], (Kind::Int64, Device::Cpu))?;
        let key = i64::try_from(key.f_random_from_(i64::MIN, None)?)?;
        Ok(Origin { key: key as u64, high: 0, low: FROM_LIBTORCH })
    }
}

/// A contiguous mask on the CPU: 0 with probability `p`, else `kept`. Its entries are drawn in the
/// order of their indices, so it depends on nothing but these arguments.
pub(crate) fn mask(
    origin: Origin,
    p: Probability,
    kept: f64,
    size: &[i64],
    kind: Kind,
) -> Result<Tensor> {
    draw(Bits::new(origin, p), kept, Layout::Contiguous(size, kind))
}

/// A mask of the same size, kind and memory format as `x`, drawn in the order of memory.
pub(crate) fn mask_like(origin: Origin, p: Probability, kept: f64, x: &Tensor) -> Result<Tensor> {
    draw(Bits::new(origin, p), kept, Layout::Like(x))
}

/// Only a kind's width matters to a mask: it is made of two patterns of bits, zero and `kept`.
fn draw(bits: Bits, kept: f64, layout: Layout) -> Result<Tensor> {
    let kind = layout.kind();
    match kind {
        Kind::Float => fill(bits, (kept as f32).to_bits(), layout),
        Kind::Double => fill(bits, kept.to_bits(), layout),
        Kind::Half => fill(bits, f16::from_f64(kept).to_bits(), layout),
        Kind::BFloat16 => fill(bits, bf16::from_f64(kept).to_bits(), layout),
        Kind::Uint8 | Kind::Int8 | Kind::Bool => fill(bits, kept as u8, layout),
        Kind::Int16 => fill(bits, kept as u16, layout),
        Kind::Int => fill(bits, kept as u32, layout),
        Kind::Int64 => fill(bits, kept as u64, layout),
        _ => Err(Error::Kind(kind)),
    }
}

fn fill<W: Word>(bits: Bits, kept: W, layout: Layout) -> Result<Tensor> {
    memory::filled(layout, &bits::Mask { bits, kept })
}
