//! Which elements are kept, by the scheme of `cpu/bernoulli.rs`, for many tiles at once.
//!
//! Ties take words from their tile's pool one after the other, and one tie in 2³² takes two. Nothing here may
//! depend on how many there are: to learn it, the host would have to wait for the device. So the same number
//! of words is drawn for every tile, the outcome of its k-th tie is found for all k, and each tie looks up
//! its own:
//!
//! - A tie's k is a cumulative sum over the tile's ties.
//! - A word is some tie's *second* word if the one before it is a *first* word and equals the threshold's. So
//!   it is a first word if the number of equal words directly before it is even, which is known for all words
//!   at once, however many are equal. The k-th first word is the k-th tie's.
//!
//! 2048 ties could take 4096 words, but eight ties are expected, and 128 words are too few for less than one
//! tile in 10¹⁰⁰. A tie beyond them would look up an index out of bounds, which libtorch reports as an error: a
//! mask is the CPU's, or there is none. Enough words for every case would take seven times as long to draw as
//! all else.

use tch::{Kind, Tensor};

use super::philox::{unsigned, words};
use super::tiles::Tiles;
use crate::cpu::bernoulli::PLANES;
use crate::error::Result;
use crate::rng::counter::Counter;
use crate::rng::philox::WORDS;

/// How much is drawn for a tile. Tests draw less, or more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Bits for every element.
    pub(super) planes: u32,
    /// How many times the pool is filled, with 64 words each time.
    pub(super) fillings: u64,
}

impl Extent {
    pub(super) const OF_MASKS: Extent = Extent { planes: PLANES, fillings: 2 };
}

/// Whether each element of these tiles is kept: a flat tensor of booleans. `threshold` is `p` in units of
/// 2⁻⁶⁴, and not 0.
pub(super) fn keep_flags(
    counter: &Counter,
    threshold: u64,
    extent: Extent,
    tiles: &Tiles,
) -> Result<Tensor> {
    let digits = u64::BITS - threshold.trailing_zeros();
    let planes = u64::from(digits.min(extent.planes));
    let fillings = if digits > extent.planes { extent.fillings } else { 0 };
    let plane_lows = (0..planes).map(|plane| counter.plane_low(tiles.start, plane));
    let pool_lows = (0..fillings).map(|filled| counter.pool_low(tiles.start, filled));
    let lows: Vec<u64> = plane_lows.chain(pool_lows).collect();
    let words = words(counter.key_and_high(), &lows, tiles)?;

    let (at_least, above) = compared(&words, planes, threshold)?;
    let bit = bits(&at_least)?;
    // Element 64 j + l has bit j of word l.
    let bytes = bytes(&at_least)?.f_transpose(1, 2)?.f_contiguous()?;
    let at_least_bits = is_set(&bytes.f_unsqueeze(2)?, &bit.f_unsqueeze(1)?)?;
    if fillings == 0 {
        return Ok(at_least_bits.f_flatten(0, -1)?);
    }
    let ties = at_least.f_bitwise_xor_tensor(&above)?;
    let pool = words.f_narrow(0, planes as i64, fillings as i64)?.f_transpose(0, 1)?;
    let pool = unsigned(&pool.f_flatten(1, -1)?)?;
    let dropped = dropped_ties(&ties, &bit, &outcomes(&pool, threshold << extent.planes)?)?;
    let at_least_bits = at_least_bits.f_reshape([tiles.count, 32, WORDS as i64])?;
    Ok(at_least_bits.f_gt_tensor(&dropped.f_transpose(1, 2)?)?.f_flatten(0, -1)?)
}

/// The elements whose bits, as a number, are at least the threshold's first ones, and those for which they are
/// above; as words.
fn compared(words: &Tensor, planes: u64, threshold: u64) -> Result<(Tensor, Tensor)> {
    let equal = |outcome| {
        Tensor::f_full([words.size()[1], WORDS as i64], outcome, (Kind::Int, words.device()))
    };
    let mut outcome = Tensor::f_stack(&[equal(-1)?, equal(0)?], 0)?;
    // From the last plane to the first: a bit that differs from the threshold's overrules all after it.
    for plane in (0..planes).rev() {
        let bits = words.f_get(plane as i64)?;
        outcome = match threshold >> (63 - plane) & 1 {
            0 => outcome.f_bitwise_or_tensor_(&bits)?,
            _ => outcome.f_bitwise_and_tensor_(&bits)?,
        };
    }
    Ok((outcome.f_get(0)?, outcome.f_get(1)?))
}

/// Whether each tied element is dropped, `[tiles, WORDS, 32]`: by word and bit, the order in which ties take
/// words of the pool.
fn dropped_ties(ties: &Tensor, bit: &Tensor, outcomes: &Tensor) -> Result<Tensor> {
    let ties = is_set(&bytes(ties)?.f_unsqueeze(3)?, bit)?.f_flatten(1, -1)?;
    let dropped = outcomes.f_gather(1, &ties.f_cumsum(1, None)?, false)?.f_logical_and_(&ties)?;
    Ok(dropped.f_reshape([-1, WORDS as i64, 32])?)
}

/// Whether a tile's k-th tie is dropped, for k from 1 on, given the words of its pool and the threshold's
/// further digits.
pub(super) fn outcomes(pool: &Tensor, threshold: u64) -> Result<Tensor> {
    let (first, second) = (i64::from((threshold >> 32) as u32), i64::from(threshold as u32));
    let (tiles, words) = pool.size2()?;
    let equal = pool.f_eq(first)?;
    let place = Tensor::f_arange(words, (Kind::Int64, pool.device()))?;
    // Its own place for a word that differs, -1 for an equal one.
    let different = place.f_sub(&equal.f_mul(&place.f_add_scalar(1)?)?)?;
    let equal_up_to_here = place.f_sub(&different.f_cummax(1)?.0)?;
    let mut equal_before = equal_up_to_here.f_narrow(1, 0, words - 1)?.f_constant_pad_nd([1, 0])?;
    let is_first = equal_before.f_bitwise_and_(1)?.f_bitwise_xor_(1)?;
    let next_is_below = pool.f_lt(second)?.f_narrow(1, 1, words - 1)?.f_constant_pad_nd([0, 1])?;
    let is_below = next_is_below.f_where_self(&equal, &pool.f_lt(first)?)?;
    // Second words all go to place 0, which is no tie's.
    let k = is_first.f_cumsum(1, None)?.f_mul_(&is_first)?;
    let mut outcomes = Tensor::f_zeros([tiles, words + 1], (Kind::Bool, pool.device()))?;
    Ok(outcomes.f_scatter_(1, &k, &is_below)?)
}

/// The bytes of int32 words, the lowest first, along a new last dimension.
fn bytes(words: &Tensor) -> Result<Tensor> {
    let bytes = words.f_view_dtype(Kind::Uint8)?.f_reshape([-1, WORDS as i64, 4])?;
    Ok(if cfg!(target_endian = "little") { bytes } else { bytes.f_flip([2])? })
}

/// The eight bits of a byte, on the device of `like`. A slice would be copied there, and the host would wait.
fn bits(like: &Tensor) -> Result<Tensor> {
    let places = Tensor::f_arange(8, (Kind::Int64, like.device()))?;
    Ok(places.f_ones_like()?.f_bitwise_left_shift(&places)?.f_to_kind(Kind::Uint8)?)
}

fn is_set(bytes: &Tensor, bit: &Tensor) -> Result<Tensor> {
    Ok(bytes.f_bitwise_and_tensor(bit)?.f_ne(0)?)
}
