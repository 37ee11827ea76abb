//! Which entries are dropped: random bits compared with a threshold.

use super::memory::{Fill, Word};
use super::philox::{self, SIDE_BY_SIDE};
use super::Origin;
use crate::Probability;

/// Set in the counter's low half for the numbers that settle ties.
const TIE: u64 = 1 << 63;

/// Entries that one call of the generator decides: a block has eight lanes of 16 bits.
const LANES_PER_BLOCK: usize = 8;
const TILE: usize = SIDE_BY_SIDE * LANES_PER_BLOCK;

/// Random bits and a threshold: entry i is dropped if its 64 bits are below `p` in units of 2⁻⁶⁴.
///
/// The first 16 of an entry's bits settle it but for one case in 65536, where they equal the
/// threshold's first 16. Only then are the other 48 drawn. So a 64-bit number serves four entries,
/// and yet `p` is exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits {
    origin: Origin,
    /// `None` drops everything.
    threshold: Option<u64>,
}

impl Bits {
    pub(crate) fn new(origin: Origin, p: Probability) -> Self {
        Bits { origin, threshold: p.threshold() }
    }

    /// The first 16 bits of the entries from `start` on, which is a multiple of a block.
    #[inline(always)]
    fn lanes(&self, start: usize) -> [[u8; 2]; TILE] {
        let low = self.origin.low | (start / LANES_PER_BLOCK) as u64;
        let blocks = philox::blocks(self.origin.key, self.origin.high, low);
        let mut lanes = [[0; 2]; TILE];
        for (pair, number) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(blocks.as_flattened()) {
            let bytes = number.to_le_bytes();
            for (lane, bytes) in pair.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *lane = *bytes;
            }
        }
        lanes
    }

    /// The other 48 bits of one entry.
    #[cold]
    fn tail(&self, entry: usize) -> u64 {
        let low = self.origin.low | TIE | entry as u64;
        philox::block(self.origin.key, self.origin.high, low)[0] >> 16
    }
}

/// Bits, and what a kept entry is.
pub(crate) struct Mask<W> {
    pub(crate) bits: Bits,
    pub(crate) kept: W,
}

impl<W: Word> Fill<W> for Mask<W> {
    const GRAIN: usize = TILE;

    #[inline(always)]
    fn fill(&self, start: usize, entries: &mut [W]) {
        let Some(threshold) = self.bits.threshold else {
            return entries.fill(W::ZERO);
        };
        let (first, rest) = ((threshold >> 48) as u16, threshold & (u64::MAX >> 16));
        for (tile, entries) in entries.chunks_mut(TILE).enumerate() {
            let start = start + tile * TILE;
            let lanes = self.bits.lanes(start);
            for (entry, lane) in entries.iter_mut().zip(&lanes) {
                *entry = W::select(u16::from_le_bytes(*lane) >= first, self.kept);
            }
            // A threshold that ends after 16 bits, like that of p = 0.5, keeps every tie.
            // No early exit, so that looking is done in vector registers.
            let any_tie = |any, lane: &[u8; 2]| any | (u16::from_le_bytes(*lane) == first);
            if rest != 0 && lanes.iter().fold(false, any_tie) {
                self.settle_ties(start, entries, &lanes, first, rest);
            }
        }
    }
}

impl<W: Word> Mask<W> {
    #[cold]
    fn settle_ties(
        &self,
        start: usize,
        entries: &mut [W],
        lanes: &[[u8; 2]],
        first: u16,
        rest: u64,
    ) {
        for (i, (entry, lane)) in entries.iter_mut().zip(lanes).enumerate() {
            if u16::from_le_bytes(*lane) == first && self.bits.tail(start + i) < rest {
                *entry = W::ZERO;
            }
        }
    }
}
