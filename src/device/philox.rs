//! Philox4x32-10 in libtorch's operations; `rng/philox.rs` says what it is.
//!
//! The products of 32 by 32 bits are int64. One of 2⁶³ or more wraps, and its bits are right. The words are the
//! halves of the products, seen as int32: no shifts, no masks, and half the memory. As int32 a word may be
//! negative; only its bits count.

use tch::{Device, Kind, Tensor};

use super::tiles::Tiles;
use crate::error::Result;
use crate::rng::philox::{KEY_STEPS, MULTIPLIERS, ROUNDS, SIDE_BY_SIDE};

/// The words of each tile, for each of the counters `lows`, at which the first tile's begin: int32,
/// `[lows, tiles, WORDS]`, in the order of `rng::philox::words`.
pub(super) fn words((key, high): (u64, u64), lows: &[u64], tiles: &Tiles) -> Result<Tensor> {
    let options = (Kind::Int64, tiles.device);
    let blocks = tiles.count * SIDE_BY_SIDE as i64;
    let low =
        lows.iter().map(|&low| Tensor::f_arange_start(low as i64, low as i64 + blocks, options));
    let low = Tensor::f_stack(&low.collect::<std::result::Result<Vec<_>, _>>()?, 0)?;
    let high = low.f_full_like(high as i64)?;
    // Two words of a block in one tensor: c0 and c2, which are multiplied, and c1 and c3.
    let (mut even, mut odd) = halves(&Tensor::f_stack(&[low, high], 0)?)?;
    let mut key = [key as u32, (key >> 32) as u32];
    let [multiplier0, multiplier1] = MULTIPLIERS.map(|m| Tensor::f_full([], m as i64, options));
    let (multiplier0, multiplier1) = (multiplier0?, multiplier1?);
    let low_word = low_word(tiles.device)?;
    for _ in 0..ROUNDS {
        let factors = even.f_bitwise_and_tensor(&low_word)?;
        let products = factors.f_empty_like()?;
        // c2's product gives c0 and c1, and that of c0 the others.
        let _ = factors.f_get(1)?.f_mul_out(&products.f_get(0)?, &multiplier1)?;
        let _ = factors.f_get(0)?.f_mul_out(&products.f_get(1)?, &multiplier0)?;
        let (lower, upper) = halves(&products)?;
        even = upper.f_bitwise_xor_tensor(&odd)?;
        for (word, key) in (0..).zip(key) {
            let _ = even.f_get(word)?.f_bitwise_xor_(i64::from(key as i32))?;
        }
        odd = lower;
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    let words = [even.f_get(0)?, odd.f_get(0)?, even.f_get(1)?, odd.f_get(1)?];
    let size = [lows.len() as i64, tiles.count, SIDE_BY_SIDE as i64];
    let [c0, c1, c2, c3] = words.map(|word| word.f_reshape(size));
    Ok(Tensor::f_cat(&[c0?, c1?, c2?, c3?], 2)?)
}

/// The lower and the upper 32 bits of each number, as they lie in memory.
fn halves(wide: &Tensor) -> Result<(Tensor, Tensor)> {
    let pairs = wide.f_view_dtype(Kind::Int)?.f_reshape([&wide.size()[..], &[2]].concat())?;
    let (first, second) = (pairs.f_select(-1, 0)?, pairs.f_select(-1, 1)?);
    Ok(if cfg!(target_endian = "little") { (first, second) } else { (second, first) })
}

/// Words as numbers from 0 to 2³² - 1, in int64.
pub(super) fn unsigned(words: &Tensor) -> Result<Tensor> {
    Ok(words.f_bitwise_and_tensor(&low_word(words.device())?)?)
}

/// What makes an int32 word an int64 number. A tensor with a dimension decides on the result's kind, unlike a
/// number.
fn low_word(device: Device) -> Result<Tensor> {
    Ok(Tensor::f_full([1], i64::from(u32::MAX), (Kind::Int64, device))?)
}
