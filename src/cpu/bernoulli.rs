//! Which elements are dropped: as few random bits as `p` needs, compared with a threshold.
//!
//! Element i is dropped if its random bits, read as a binary fraction, are below `p`. For `p = 0.5` that
//! takes one bit. In general the first bit that differs from `p`'s decides, so bits are drawn plane by plane:
//! plane k has bit k of every element, and after it an element is still *tied* only if all its bits so far
//! are `p`'s. Eight planes settle all but one element in 256; those draw 32 bits each from the tile's pool,
//! and 32 more in one case of 2³². So an element takes little more than eight bits, and `p` is exact to 2⁻⁶⁴.
//!
//! Why eight: a tie costs a branch that no CPU can predict. Six planes leave 32 ties in a tile, and took a
//! quarter longer (one thread of an AMD EPYC, AVX-512); with seven to ten, the times differed by 5 %. Sixteen
//! bits at once, compared as integers, would draw twice as much.

use crate::numbers::PLANES;
use crate::rng::counter::Counter;
use crate::rng::philox::WORDS;

/// Whether the elements of a tile are kept: bit j of word l stands for element `64 j + l`.
pub(super) type Keep = [u32; WORDS];

/// A Bernoulli draw for each element of a mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bernoulli {
    counter: Counter,
    /// `p` in units of 2⁻⁶⁴; `None` drops everything.
    threshold: Option<u64>,
}

impl Bernoulli {
    pub(super) fn new(counter: Counter, threshold: Option<u64>) -> Self {
        Bernoulli { counter, threshold }
    }

    /// Decides one tile.
    #[inline(always)]
    pub(super) fn keep(&self, tile: u64) -> Keep {
        let Some(threshold) = self.threshold else { return [0; WORDS] };
        let digits = u64::BITS - threshold.trailing_zeros();
        let (mut dropped, mut tied) = ([0; WORDS], [u32::MAX; WORDS]);
        for plane in 0..digits.min(PLANES) {
            let bits = self.counter.plane(tile, plane.into());
            let digit = ((threshold >> (63 - plane) & 1) as u32).wrapping_neg();
            let mut l = 0;
            while l < WORDS {
                dropped[l] |= tied[l] & digit & !bits[l];
                tied[l] &= !(digit ^ bits[l]);
                l += 1;
            }
        }
        if digits > PLANES {
            self.settle_ties(tile, threshold << PLANES, &mut tied, &mut dropped);
        }
        let mut l = 0;
        while l < WORDS {
            dropped[l] = !dropped[l];
            l += 1;
        }
        dropped
    }

    /// Compares the ties' further bits with the threshold's, in the order of their words and bits.
    #[inline(always)]
    fn settle_ties(&self, tile: u64, threshold: u64, tied: &mut Keep, dropped: &mut Keep) {
        let (first, second) = ((threshold >> 32) as u32, threshold as u32);
        let mut pool = Pool::new(&self.counter, tile);
        // Most words have no tie: a branch for each, on a random bit, would cost more than the ties.
        let mut words_left = words_with_ties(tied);
        while words_left != 0 {
            let word = words_left.trailing_zeros() as usize % WORDS;
            let lowest = tied[word] & tied[word].wrapping_neg();
            tied[word] ^= lowest;
            words_left ^= u64::from(tied[word] == 0) << word;
            let bits = pool.next();
            let below = if bits == first { pool.next() < second } else { bits < first };
            dropped[word] |= lowest & u32::from(below).wrapping_neg();
        }
    }
}

/// Bit l is set if word l has a tie.
#[inline(always)]
fn words_with_ties(tied: &Keep) -> u64 {
    let (mut words, mut l) = (0, 0);
    while l < WORDS {
        words |= ((tied[l] != 0) as u64) << l;
        l += 1;
    }
    words
}

/// A tile's further random words, drawn 64 at a time.
struct Pool<'a> {
    counter: &'a Counter,
    tile: u64,
    words: Keep,
    used: usize,
    filled: u64,
}

impl<'a> Pool<'a> {
    #[inline(always)]
    fn new(counter: &'a Counter, tile: u64) -> Self {
        Pool { counter, tile, words: counter.pool(tile, 0), used: 0, filled: 1 }
    }

    #[inline(always)]
    fn next(&mut self) -> u32 {
        if self.used == WORDS {
            self.refill();
        }
        self.used += 1;
        self.words[(self.used - 1) % WORDS]
    }

    /// A tile hardly ever has more than 64 ties; eight are expected.
    #[cold]
    fn refill(&mut self) {
        self.words = self.counter.pool(self.tile, self.filled);
        self.filled += 1;
        self.used = 0;
    }
}
