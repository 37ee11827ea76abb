//! Which kind a mask has, for an input of each kind.

use half::{bf16, f16};
use tch::Kind;

use crate::error::{Error, Result};

/// The kind of a mask for an `x` of this kind: the same, but real for complex numbers, and with a
/// fraction where integers are rescaled.
pub(crate) fn mask_kind(x: Kind, rescale: bool) -> Result<Kind> {
    match real_kind(x) {
        Some(real) => Ok(real),
        None if !is_integral(x) => Err(Error::Kind(x)),
        None if rescale => Ok(Kind::Float),
        None => Ok(x),
    }
}

/// The bits of a mask's number for kept elements, in the lower bytes. Half precision is rounded via single precision, as
/// in libtorch.
pub(crate) fn mask_bits(kind: Kind, keep: f64) -> Result<u64> {
    Ok(match kind {
        Kind::Float => (keep as f32).to_bits().into(),
        Kind::Double => keep.to_bits(),
        Kind::Half => f16::from_f32(keep as f32).to_bits().into(),
        Kind::BFloat16 => bf16::from_f32(keep as f32).to_bits().into(),
        kind if is_integral(kind) => keep as u64,
        kind => return Err(Error::Kind(kind)),
    })
}

/// A number as a tensor of this kind has it.
pub(crate) fn rounded(kind: Kind, number: f64) -> f64 {
    match kind {
        Kind::Float => (number as f32).into(),
        Kind::Half => f16::from_f32(number as f32).into(),
        Kind::BFloat16 => bf16::from_f32(number as f32).into(),
        _ => number,
    }
}

/// The real kind of the floating-point and complex kinds.
pub(crate) fn real_kind(kind: Kind) -> Option<Kind> {
    use Kind::*;
    match kind {
        Half | Float | Double | BFloat16 => Some(kind),
        ComplexHalf => Some(Half),
        ComplexFloat => Some(Float),
        ComplexDouble => Some(Double),
        _ => None,
    }
}

pub(crate) fn is_complex(kind: Kind) -> bool {
    real_kind(kind).is_some_and(|real| real != kind)
}

fn is_integral(kind: Kind) -> bool {
    use Kind::*;
    matches!(kind, Uint8 | Int8 | Int16 | Int | Int64 | Bool)
}
