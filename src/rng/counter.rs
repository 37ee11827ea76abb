//! Which random numbers belong to which mask. This is the only file that knows the layout of Philox's key
//! and counter.
//!
//! A mask is drawn in tiles of 2048 elements. A *plane* is one random bit for each element of a tile: the 64
//! words of 32 bits that 16 blocks give, where bit j of word l belongs to element 64 j + l. Plane 0 has the
//! most significant bits. A few elements need more bits than the planes have (see `cpu/bernoulli.rs`); they
//! take 32-bit words from the tile's *pool*, one after the other.
//!
//! Normal numbers take a whole word for two: word l of plane k is for elements 128 k + l and 128 k + 64 + l of
//! the tile (see `cpu/normal.rs`).
//!
//! | bits of the counter | hold | |
//! | --- | --- | --- |
//! | 0 to 39 | the block | 16 for each tile |
//! | 40 to 45 | the plane | in the pool: how many times it has been filled |
//! | 46 to 61 | the layer | |
//! | 62 | libtorch | set if a generator of libtorch's decides, so that no seed has the same numbers |
//! | 63 | pool | set for the pool |
//! | 64 to 111 | the step | one for each mask of a layer |
//! | 112 to 127 | the worker | |
//!
//! The key is the seed. Without one, a CPU's generator draws it, and a GPU's has a seed and an offset, which takes the place
//! of step and worker. No two (worker, layer, step, tile, plane) of a seed share a counter, and so each
//! element has bits of its own. 2⁴⁰ blocks serve 2⁴⁷ elements, more than an address space holds.

use super::philox::{self, SIDE_BY_SIDE, WORDS};

/// Steps have 48 bits, which last 89 years at 100,000 forward passes a second.
pub(crate) const STEPS: u64 = 1 << 48;

/// How many elements are drawn together: 32 for each word of a plane.
pub(crate) const TILE: usize = 32 * WORDS;

const PLANE_SHIFT: u32 = 40;
const LAYER_SHIFT: u32 = 46;
const FROM_LIBTORCH: u64 = 1 << 62;
const POOL: u64 = 1 << 63;
const WORKER_SHIFT: u32 = 48;

/// Where a mask's random numbers begin: the key, and the fixed parts of the counter (Random123's term).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    key: u64,
    high: u64,
    low: u64,
}

impl Counter {
    pub(crate) fn of_stream(seed: u64, worker: u16, layer: u16, step: u64) -> Self {
        Counter {
            key: seed,
            high: u64::from(worker) << WORKER_SHIFT | step,
            low: u64::from(layer) << LAYER_SHIFT,
        }
    }

    /// Of a key that the CPU's generator drew: `tch::manual_seed` decides it, and so the mask.
    pub(crate) fn of_libtorch(key: u64) -> Self {
        Counter { key, high: 0, low: FROM_LIBTORCH }
    }

    /// The draw of a GPU's generator that has this seed, at this offset. libtorch's own kernels use the same key, but never
    /// a counter whose lower half has the bit that is set here: theirs is the offset, divided by four.
    #[cfg(recompute)]
    pub(crate) fn of_generator(seed: u64, offset: u64) -> Self {
        Counter { key: seed, high: offset, low: FROM_LIBTORCH }
    }

    /// Philox's key.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// The upper half of each block's counter.
    pub(crate) fn high(&self) -> u64 {
        self.high
    }

    /// The random numbers after these tiles.
    #[cfg(recompute)]
    pub(crate) fn skip_tiles(self, tiles: u64) -> Self {
        Counter { low: self.low + tiles * SIDE_BY_SIDE as u64, ..self }
    }

    /// One random bit for each element of a tile.
    #[inline(always)]
    pub(crate) fn plane(&self, tile: u64, plane: u64) -> [u32; WORDS] {
        philox::words(self.key, self.high, self.plane_low(tile, plane))
    }

    /// More words for the few elements of a tile that need them.
    #[inline(always)]
    pub(crate) fn pool(&self, tile: u64, filled: u64) -> [u32; WORDS] {
        philox::words(self.key, self.high, self.pool_low(tile, filled))
    }

    /// The lower half of the counter of a plane's first block in a tile. The tile's other blocks follow it,
    /// and then those of the next tile.
    #[inline(always)]
    pub(crate) fn plane_low(&self, tile: u64, plane: u64) -> u64 {
        self.low + (plane << PLANE_SHIFT) + tile * SIDE_BY_SIDE as u64
    }

    /// The same for a pool.
    #[inline(always)]
    pub(crate) fn pool_low(&self, tile: u64, filled: u64) -> u64 {
        self.low + POOL + (filled << PLANE_SHIFT) + tile * SIDE_BY_SIDE as u64
    }
}

#[cfg(all(test, recompute))]
mod tests {
    use super::*;

    /// libtorch's kernels count from the offset on, in the lower half: far below 2⁶².
    #[test]
    fn a_gpus_draws_share_no_block_with_libtorchs_kernels_or_with_a_seeds() {
        let gpus = Counter::of_generator(7, 1 << 40);
        let seeds = Counter::of_stream(7, 0, 0, 1 << 40);
        for (tile, n) in [(0, 0), (1, 7), ((1 << 36) - 1, 63)] {
            for low in [gpus.plane_low(tile, n), gpus.pool_low(tile, n)] {
                assert_ne!(low & FROM_LIBTORCH, 0);
            }
            for low in [seeds.plane_low(tile, n), seeds.pool_low(tile, n)] {
                assert_eq!(low & FROM_LIBTORCH, 0);
            }
        }
        let other = Counter::of_generator(7, (1 << 40) + 4);
        assert_eq!(gpus.key(), other.key());
        assert_ne!(gpus.high(), other.high());
    }
}
