//! Which kind a mask has, for an input of each kind.

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
