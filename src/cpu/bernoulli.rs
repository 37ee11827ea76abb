//! Which elements are dropped: random bits, compared with a threshold.

use super::fill::{Fill, Word};
use crate::probability::Probability;
use crate::rng::counter::{Counter, ELEMENTS_PER_BLOCK};
use crate::rng::philox::SIDE_BY_SIDE;

/// Elements that one call of the generator decides.
const TILE: usize = SIDE_BY_SIDE * ELEMENTS_PER_BLOCK;

/// Random bits and a threshold: element i is dropped if its 64 bits are below `p` in units of 2⁻⁶⁴.
///
/// The first 16 bits settle an element except in one case of 65536, a tie, where they equal the
/// threshold's first 16. Only then are the other 48 drawn. So a 64-bit number serves four elements, and
/// `p` is exact all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bernoulli {
    counter: Counter,
    /// `None` drops everything.
    threshold: Option<u64>,
}

impl Bernoulli {
    pub(super) fn new(counter: Counter, p: Probability) -> Self {
        Bernoulli { counter, threshold: p.threshold() }
    }

    /// The first 16 bits of the elements from `start` on, which is a multiple of a block.
    #[inline(always)]
    fn lanes(&self, start: usize) -> [[u8; 2]; TILE] {
        let blocks = self.counter.blocks((start / ELEMENTS_PER_BLOCK) as u64);
        let mut lanes = [[0; 2]; TILE];
        for (four, number) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(blocks.as_flattened()) {
            let bytes = number.to_le_bytes();
            for (lane, bytes) in four.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *lane = *bytes;
            }
        }
        lanes
    }
}

/// Zeros where elements are dropped, and the keep value elsewhere.
pub(super) struct Mask<W> {
    pub(super) bernoulli: Bernoulli,
    pub(super) keep_value: W,
}

impl<W: Word> Fill<W> for Mask<W> {
    const GRAIN: usize = TILE;

    #[inline(always)]
    fn fill(&self, start: usize, elements: &mut [W]) {
        let Some(threshold) = self.bernoulli.threshold else {
            return elements.fill(W::ZERO);
        };
        let (first, rest) = ((threshold >> 48) as u16, threshold & (u64::MAX >> 16));
        for (tile, elements) in elements.chunks_mut(TILE).enumerate() {
            let start = start + tile * TILE;
            let lanes = self.bernoulli.lanes(start);
            for (element, lane) in elements.iter_mut().zip(&lanes) {
                *element = W::select(u16::from_le_bytes(*lane) >= first, self.keep_value);
            }
            // A threshold that ends after 16 bits, like that of p = 0.5, keeps every tie.
            // No early exit, so that the search runs in vector registers.
            let any_tie = |any, lane: &[u8; 2]| any | (u16::from_le_bytes(*lane) == first);
            if rest != 0 && lanes.iter().fold(false, any_tie) {
                self.settle_ties(start, elements, &lanes, first, rest);
            }
        }
    }
}

impl<W: Word> Mask<W> {
    #[cold]
    fn settle_ties(
        &self,
        start: usize,
        elements: &mut [W],
        lanes: &[[u8; 2]],
        first: u16,
        rest: u64,
    ) {
        for (i, (element, lane)) in elements.iter_mut().zip(lanes).enumerate() {
            let tie = u16::from_le_bytes(*lane) == first;
            if tie && self.bernoulli.counter.low_bits((start + i) as u64) < rest {
                *element = W::ZERO;
            }
        }
    }
}
