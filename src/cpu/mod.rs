//! Masks and products on the CPU: random numbers, written into memory on all threads.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `source` | what is drawn for a tile |
//! | `bernoulli` | which of its elements are kept |
//! | `normal` | normal numbers |
//! | `fill` | what is written for its elements |
//! | `number` | half precision's arithmetic |
//! | `dispatch` | this CPU's best instructions |
//! | `softmax` | attention's passes over a block's scores |
//! | `exp` | powers of e |
//! | `memory`, `rows` | tensors as slices |
//! | `large` | memory for large tensors, without gaps |
//! | `openmp` | libtorch's own threads |

mod bernoulli;
mod dispatch;
#[cfg(recompute)]
mod exp;
mod fill;
mod large;
mod memory;
mod normal;
mod number;
mod openmp;
#[cfg(recompute)]
mod rows;
#[cfg(recompute)]
pub(crate) mod softmax;
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
#[cfg(recompute)]
use crate::effect::Affine;
use crate::effect::Outcome;
use crate::error::{Error, Result};
use crate::kind::mask_bits;
use crate::layout::Layout;
use crate::numbers::Numbers;

#[cfg(recompute)]
pub(crate) use self::memory::large_like;
#[cfg(recompute)]
pub(crate) use self::openmp::run as on_threads;

/// A mask with these numbers, in the order of memory.
pub(crate) fn mask(numbers: &Numbers, layout: &Layout) -> Result<Tensor> {
    match numbers.outcome {
        Outcome::Bernoulli(affine) => {
            bits(&Bernoulli::new(numbers.counter, numbers.threshold), affine.scale, layout)
        }
        Outcome::Normal { deviation } => factors(&Normal::new(numbers.counter, deviation), layout),
    }
}

fn bits(bernoulli: &Bernoulli, keep: f64, layout: &Layout) -> Result<Tensor> {
    let bits = mask_bits(layout.kind, keep)?;
    // Only a kind's width matters, since a mask has only two bit patterns.
    match layout.kind.elt_size_in_bytes() {
        1 => words(bernoulli, bits as u8, layout),
        2 => words(bernoulli, bits as u16, layout),
        4 => words(bernoulli, bits as u32, layout),
        _ => words(bernoulli, bits, layout),
    }
}

fn words<W: Word>(bernoulli: &Bernoulli, keep_value: W, layout: &Layout) -> Result<Tensor> {
    filled(layout, bernoulli, &Mask { keep_value })
}

fn factors(normal: &Normal, layout: &Layout) -> Result<Tensor> {
    match layout.kind {
        Kind::Float => filled(layout, normal, &Factors::<f32>(PhantomData)),
        Kind::Double => filled(layout, normal, &Factors::<f64>(PhantomData)),
        Kind::Half => filled(layout, normal, &Factors::<f16>(PhantomData)),
        Kind::BFloat16 => filled(layout, normal, &Factors::<bf16>(PhantomData)),
        kind => Err(Error::Kind(kind)),
    }
}

/// `x` times the mask in one pass; plus `residual`, if there is one. Both have this layout. `None` for kinds
/// that have no arithmetic here.
pub(crate) fn product(
    numbers: &Numbers,
    layout: &Layout,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    match layout.kind {
        Kind::Float => products::<f32>(numbers, layout, x, residual),
        Kind::Double => products::<f64>(numbers, layout, x, residual),
        Kind::Half => products::<f16>(numbers, layout, x, residual),
        Kind::BFloat16 => products::<bf16>(numbers, layout, x, residual),
        _ => Ok(None),
    }
}

fn products<T: Number + Element>(
    numbers: &Numbers,
    layout: &Layout,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let Some(x) = elements_of::<T>(x, layout) else { return Ok(None) };
    let affine = match numbers.outcome {
        Outcome::Bernoulli(affine) => affine,
        Outcome::Normal { deviation } => {
            let normal = Normal::new(numbers.counter, deviation);
            return sum(&normal, layout, Scaled { x }, residual);
        }
    };
    let bernoulli = Bernoulli::new(numbers.counter, numbers.threshold);
    let wide = |number| T::of(number).widen();
    let product = Product { x, keep_value: wide(affine.scale) };
    if affine.has_shift() {
        let (shift_kept, shift_dropped) = (wide(affine.shift_kept), wide(affine.shift_dropped));
        sum(&bernoulli, layout, Shift { product, shift_kept, shift_dropped }, residual)
    } else {
        sum(&bernoulli, layout, product, residual)
    }
}

/// Multiplies a contiguous `x` in place by a mask of kept and dropped elements. Returns false for others, and for
/// other tensors, which stay as they are.
#[cfg(recompute)]
pub(crate) fn multiply_in_place(numbers: &Numbers, x: &mut Tensor) -> bool {
    match (x.kind(), numbers.outcome) {
        (Kind::Float, Outcome::Bernoulli(affine)) => scale::<f32>(numbers, affine, x),
        (Kind::Double, Outcome::Bernoulli(affine)) => scale::<f64>(numbers, affine, x),
        _ => false,
    }
}

#[cfg(recompute)]
fn scale<T: Number + Element>(numbers: &Numbers, affine: Affine, x: &mut Tensor) -> bool {
    let bernoulli = Bernoulli::new(numbers.counter, numbers.threshold);
    let keep_value = T::of(affine.scale).widen();
    !affine.has_shift() && memory::overwrite(x, &bernoulli, &fill::InPlace::<T> { keep_value })
}

fn sum<S: Source, T: Number + Element, F: Fill<S, Element = T>>(
    source: &S,
    layout: &Layout,
    product: F,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let Some(residual) = residual else {
        return filled(layout, source, &product).map(Some);
    };
    let Some(residual) = elements_of::<T>(residual, layout) else { return Ok(None) };
    filled(layout, source, &Sum { product, residual }).map(Some)
}
