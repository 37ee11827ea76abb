//! Which random numbers belong to which mask. This is the only file that knows the layout of Philox's
//! key and counter:
//!
//! | bits of the counter | hold | |
//! | --- | --- | --- |
//! | 0 to 45 | the block | of eight elements, 16 bits for each; for a tie, the element itself |
//! | 46 to 61 | the layer | |
//! | 62 | libtorch | set if libtorch's generator drew the key, so that no seed has the same numbers |
//! | 63 | tie | set for the numbers that settle ties |
//! | 64 to 111 | the step | one for each mask of a layer |
//! | 112 to 127 | the worker | |
//!
//! The key is the seed. No two (worker, layer, step, element) of a seed share a counter, and so none
//! share a number. 2⁴⁶ elements are more than any machine's address space holds.

use tch::{Device, Kind, Tensor};

use super::philox::{self, SIDE_BY_SIDE};
use crate::error::Result;

/// Steps have 48 bits, which last 89 years at 100,000 forwards a second.
pub(crate) const STEPS: u64 = 1 << 48;

/// Elements that one block decides, with 16 bits each.
pub(crate) const ELEMENTS_PER_BLOCK: usize = 8;

const LAYER_SHIFT: u32 = 46;
const FROM_LIBTORCH: u64 = 1 << 62;
const TIE: u64 = 1 << 63;
const WORKER_SHIFT: u32 = 48;

/// Where a mask's random numbers begin (Random123's term): the key, and the counter's fixed parts.
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

    /// One draw from libtorch's generator: `tch::manual_seed` decides the key, and so the mask.
    pub(crate) fn from_libtorch() -> Result<Self> {
        let mut key = Tensor::f_empty([], (Kind::Int64, Device::Cpu))?;
        let key = i64::try_from(key.f_random_from_(i64::MIN, None)?)?;
        Ok(Counter { key: key as u64, high: 0, low: FROM_LIBTORCH })
    }

    /// The numbers of `SIDE_BY_SIDE` consecutive blocks.
    #[inline(always)]
    pub(crate) fn blocks(&self, first: u64) -> [[u64; 2]; SIDE_BY_SIDE] {
        philox::blocks(self.key, self.high, self.low | first)
    }

    /// The numbers of the k-th `SIDE_BY_SIDE` blocks.
    pub(crate) fn chunk(&self, k: u64) -> [[u64; 2]; SIDE_BY_SIDE] {
        self.blocks(k * SIDE_BY_SIDE as u64)
    }

    /// 48 more bits of one element.
    pub(crate) fn low_bits(&self, element: u64) -> u64 {
        philox::block(self.key, self.high, self.low | TIE | element)[0] >> 16
    }
}
