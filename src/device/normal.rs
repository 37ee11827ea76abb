//! Normal numbers, by the formulas of `cpu/normal.rs`, for many tiles at once.
//!
//! Each operation rounds once, as there, so these are the same numbers to the bit.

use tch::{Kind, Tensor};

use super::philox::{unsigned, words};
use super::tiles::Tiles;
use crate::cpu::normal::LATTICE;
use crate::cpu::normal::cephes::{COS, LN, LN_2, RADIANS, SIN, SQRT_HALF};
use crate::error::Result;
use crate::rng::counter::{Counter, TILE};
use crate::rng::philox::WORDS;

/// Normal numbers of mean 1 for each element of these tiles: a flat tensor in f32.
pub(super) fn factors(counter: &Counter, deviation: f64, tiles: &Tiles) -> Result<Tensor> {
    let planes = (TILE / (2 * WORDS)) as u64;
    let lows: Vec<u64> = (0..planes).map(|plane| counter.plane_low(tiles.start, plane)).collect();
    let words = unsigned(&words(counter.key_and_high(), &lows, tiles)?)?;
    let radius = sqrt(&ln(&unit(&words)?)?.f_mul_scalar_(-2.0)?)?;
    let (mut sin, mut cos) = sin_cos(&words)?;
    let (cos, sin) = (cos.f_mul_(&radius)?, sin.f_mul_(&radius)?);
    // From `[planes, tiles, WORDS]` to a plane's first halves of all pairs, then their second halves.
    let mut numbers = Tensor::f_stack(&[cos.f_transpose(0, 1)?, sin.f_transpose(0, 1)?], 2)?;
    let numbers = numbers.f_mul_scalar_(f64::from(deviation as f32))?.f_add_scalar_(1.0)?;
    Ok(numbers.f_flatten(0, -1)?)
}

/// Rounded to the nearest number, which libtorch's square root in f32 is not on a CPU with MKL. No square root of
/// a number in f32 is so close to the middle of two others that one in f64 could err.
fn sqrt(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_to_kind(Kind::Double)?.f_sqrt_()?.f_to_kind(Kind::Float)?)
}

fn unit(words: &Tensor) -> Result<Tensor> {
    let mut unit = words.f_bitwise_right_shift_tensor_scalar(1)?.f_to_kind(Kind::Float)?;
    Ok(unit.f_add_scalar_(0.5)?.f_mul_scalar_(2f64.powi(-31))?)
}

fn ln(x: &Tensor) -> Result<Tensor> {
    let sqrt_half = i64::from(SQRT_HALF);
    let bits = x.f_view_dtype(Kind::Int)?.f_sub_scalar(sqrt_half)?;
    let e = bits.f_bitwise_right_shift_tensor_scalar(23)?.f_to_kind(Kind::Float)?;
    let m = bits.f_bitwise_and(0x007F_FFFF)?.f_add_scalar_(sqrt_half)?;
    let m = m.f_view_dtype(Kind::Float)?.f_sub_scalar_(1.0)?;
    let [ln_2, rest] = LN_2.map(f64::from);
    let square = m.f_mul(&m)?;
    let mut small = polynomial(&m, LN)?.f_mul_(&m)?.f_mul_(&square)?;
    let mut small = small.f_add_(&e.f_mul_scalar(rest)?)?;
    let small = small.f_sub_(&square.f_mul_scalar(0.5)?)?;
    Ok(m.f_add(&small)?.f_add_(&e.f_mul_scalar(ln_2)?)?)
}

/// The sine and cosine of the words' angles.
fn sin_cos(words: &Tensor) -> Result<(Tensor, Tensor)> {
    let angle = words.f_mul_scalar(i64::from(LATTICE))?.f_bitwise_and_(i64::from(u32::MAX))?;
    // From 0 to 4, a whole turn.
    let quarter = angle.f_add_scalar(1 << 29)?.f_bitwise_right_shift_tensor_scalar_(30)?;
    let mut x = angle.f_sub(&quarter.f_mul_scalar(1 << 30)?)?.f_to_kind(Kind::Float)?;
    let x = x.f_mul_scalar_(f64::from(RADIANS))?;
    let square = x.f_mul(&x)?;
    let sin = polynomial(&square, SIN)?.f_mul_(&square)?.f_mul_(&x)?.f_add_(&x)?;
    let mut cos = polynomial(&square, COS)?.f_mul_(&square)?.f_mul_(&square)?;
    let cos = cos.f_sub_(&square.f_mul_scalar(0.5)?)?.f_add_scalar_(1.0)?;
    let swap = quarter.f_bitwise_and(1)?.f_to_kind(Kind::Bool)?;
    let sign = |quarter: &Tensor| {
        // 1 or -1.
        quarter.f_bitwise_and(2)?.f_neg()?.f_add_scalar_(1)?.f_to_kind(Kind::Float)
    };
    Ok((
        cos.f_where_self(&swap, &sin)?.f_mul_(&sign(&quarter)?)?,
        sin.f_where_self(&swap, &cos)?.f_mul_(&sign(&quarter.f_add_scalar(1)?)?)?,
    ))
}

/// The coefficient of the highest power comes first.
fn polynomial<const N: usize>(x: &Tensor, coefficients: [f32; N]) -> Result<Tensor> {
    let mut sum = x.f_full_like(f64::from(coefficients[0]))?;
    for &coefficient in &coefficients[1..] {
        sum = sum.f_mul_(x)?.f_add_scalar_(f64::from(coefficient))?;
    }
    Ok(sum)
}
