//! Draw a mask, apply a mask: the maths of dropout as functions.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::kind::real_kind;
use crate::noise::Noise;
use crate::noise_shape::NoiseShape;
use crate::strided::check_not_nested;

/// Draws a mask with one number per column of dimension 1, `[1, C, 1, ...]` for an `x` of shape
/// `[N, C, ...]`. A column is 0 with probability `p` and 1 otherwise.
///
/// The mask has `x`'s device and kind (the real kind of a complex one), and follows [`tch::manual_seed`].
///
/// ```
/// use tch::Tensor;
/// use tch_dropout::{apply_mask, column_mask};
///
/// let x = Tensor::from_slice(&[1, 2, 3, 4, 5, 6]).reshape([2, 3]);
/// let mask = column_mask(&x, 0.5)?;
/// assert_eq!(mask.size(), [1, 3]);
/// assert_eq!(apply_mask(&x, &mask)?, &x * &mask);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// `p` outside `[0, 1]`; an `x` of fewer than two dimensions.
///
/// [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
pub fn column_mask(x: &Tensor, p: f64) -> Result<Tensor> {
    Noise::new(p, NoiseShape::Columns, false)?.draw_mask(x, true)
}

/// Draws a mask with a number for each element of `x`: 0 with probability `p`, and 1 otherwise. `x` may have
/// any shape; the rest is as in [`column_mask`]. DropConnect masks its weight like this.
///
/// ```
/// use tch::Tensor;
/// use tch_dropout::{apply_mask, element_mask};
///
/// let weight = Tensor::from_slice(&[1, 2, 3, 4, 5, 6]).reshape([2, 3]);
/// let mask = element_mask(&weight, 0.5)?;
/// assert_eq!(mask.size(), [2, 3]);
/// let masked = apply_mask(&weight, &mask)?;
/// assert_eq!(masked.kind(), weight.kind());
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// `p` outside `[0, 1]`.
pub fn element_mask(x: &Tensor, p: f64) -> Result<Tensor> {
    Noise::new(p, NoiseShape::Elements, false)?.draw_mask(x, true)
}

/// Multiplies `x` by a mask, with broadcasting.
///
/// The mask may come from a function or a layer of this crate, or be any tensor that broadcasts over
/// `x` without changing its shape. If `x` is floating-point or complex, the result has `x`'s kind.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::apply_mask;
///
/// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
/// let mask = Tensor::from_slice(&[true, false, true]);
/// let expected = Tensor::from_slice(&[1f32, 0., 1., 1., 0., 1.]).reshape([2, 3]);
/// assert_eq!(apply_mask(&x, &mask)?, expected);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// A mask that does not broadcast over `x`, or one on another device.
pub fn apply_mask(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    check_not_nested(x)?;
    check_not_nested(mask)?;
    if !broadcasts_over(&mask.size(), &x.size()) {
        return Err(Error::MaskShape { mask: mask.size(), input: x.size() });
    }
    match real_kind(x.kind()) {
        Some(kind) if ![kind, x.kind()].contains(&mask.kind()) => {
            Ok(x.f_mul(&mask.f_to_kind(kind)?)?)
        }
        _ => Ok(x.f_mul(mask)?),
    }
}

/// Whether multiplying by the mask leaves the input's shape as it is.
fn broadcasts_over(mask: &[i64], input: &[i64]) -> bool {
    mask.len() <= input.len()
        && mask.iter().rev().zip(input.iter().rev()).all(|(&m, &x)| m == 1 || m == x)
}
