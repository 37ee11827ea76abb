//! Where a tile's random numbers come from.

use super::bernoulli::{Bernoulli, Keep};

/// A draw for each element of a mask, tile by tile; any tile can be drawn by itself.
///
/// Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of their caller.
pub(super) trait Source: Sync {
    /// What is drawn for a tile.
    type Tile;
    /// What drawing for an element costs, compared with a Bernoulli draw.
    const COST: usize;
    /// Draws one tile, or at least its first `elements`.
    fn tile(&self, tile: u64, elements: usize) -> Self::Tile;
}

impl Source for Bernoulli {
    type Tile = Keep;
    const COST: usize = 1;

    #[inline(always)]
    fn tile(&self, tile: u64, _elements: usize) -> Keep {
        self.keep(tile)
    }
}
