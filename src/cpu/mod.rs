//! Masks in CPU memory: random bits, compared with a threshold, written on all threads.

mod bernoulli;
mod dispatch;
mod fill;
mod memory;
mod openmp;

use half::{bf16, f16};
use tch::{Kind, Tensor};

use self::bernoulli::{Bernoulli, Mask};
use self::fill::Word;
use crate::error::{Error, Result};
use crate::probability::Probability;
use crate::rng::counter::Counter;

pub(crate) use self::memory::Layout;

/// A mask on the CPU: 0 with probability `p`, else `keep_value`. Its elements are drawn in the order of
/// memory, so it depends on nothing but these arguments.
pub(crate) fn mask(
    counter: Counter,
    p: Probability,
    keep_value: f64,
    layout: Layout,
) -> Result<Tensor> {
    let bernoulli = Bernoulli::new(counter, p);
    // Only a kind's width matters to a mask, which is made of two patterns of bits: zero and the keep value.
    match layout.kind() {
        Kind::Float => fill(bernoulli, (keep_value as f32).to_bits(), layout),
        Kind::Double => fill(bernoulli, keep_value.to_bits(), layout),
        Kind::Half => fill(bernoulli, f16::from_f64(keep_value).to_bits(), layout),
        Kind::BFloat16 => fill(bernoulli, bf16::from_f64(keep_value).to_bits(), layout),
        Kind::Uint8 | Kind::Int8 | Kind::Bool => fill(bernoulli, keep_value as u8, layout),
        Kind::Int16 => fill(bernoulli, keep_value as u16, layout),
        Kind::Int => fill(bernoulli, keep_value as u32, layout),
        Kind::Int64 => fill(bernoulli, keep_value as u64, layout),
        kind => Err(Error::Kind(kind)),
    }
}

fn fill<W: Word>(bernoulli: Bernoulli, keep_value: W, layout: Layout) -> Result<Tensor> {
    memory::filled(layout, &Mask { bernoulli, keep_value })
}

#[cfg(test)]
mod tests;
