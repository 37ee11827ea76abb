//! A block's scores, in memory that the next block reuses.

use std::ops::Range;

use tch::Tensor;

use super::job::{Block, Job};
use crate::error::{Error, Result};
use crate::implicit_mask::ImplicitMask;
use crate::rng::counter::TILE;

/// What one thread needs for scores.
pub(super) struct Scores {
    bias: Option<Tensor>,
    /// A block's queries, times the scale.
    query: Tensor,
    /// A head's keys.
    key: Tensor,
    weights: Weights,
    /// -∞ above the diagonal, for a causal block's last keys; and a last column of -∞, for a block that sees none.
    future: Option<Tensor>,
}

impl Scores {
    pub(super) fn new(job: &Job, bias: Option<&Tensor>) -> Result<Self> {
        let future = || {
            let size = [job.rows, job.rows + 1];
            let all = Tensor::f_full(size, f64::NEG_INFINITY, (job.wide, job.device))?;
            Ok::<_, Error>(all.f_triu(1)?)
        };
        Ok(Scores {
            bias: bias.map(Tensor::shallow_clone),
            query: job.scratch([job.rows, job.features])?,
            key: job.scratch([job.keys, job.features])?,
            weights: Weights::new(job)?,
            future: if job.is_causal() { Some(future()?) } else { None },
        })
    }

    /// Takes a head's keys.
    pub(super) fn set_key(&mut self, key: &Tensor) -> Result<()> {
        Ok(self.key.f_copy_(key)?)
    }

    /// The keys that a block sees.
    pub(super) fn key(&self, block: &Block) -> Result<Tensor> {
        Ok(self.key.f_narrow(0, 0, block.seen)?)
    }

    /// The queries of the block whose scores were computed last, times the scale.
    pub(super) fn query(&self, block: &Block) -> Result<Tensor> {
        Ok(self.query.f_narrow(0, 0, block.rows)?)
    }

    /// `query · keyᵀ · scale + bias`, for the keys that the block sees. `query` has all of its head's.
    pub(super) fn compute(&self, job: &Job, block: &Block, query: &Tensor) -> Result<Tensor> {
        let mut own = self.query(block)?;
        own.f_copy_(&block.rows(query)?)?;
        let _ = own.f_mul_scalar_(job.formula.scale)?;
        let mut scores = self.weights.of(block)?;
        let _ = own.f_mm_out(&scores, &self.key(block)?.f_transpose(0, 1)?)?;
        if let Some(bias) = &self.bias {
            let _ = scores.f_add_(&block.part(&job.head(bias, block.head)?)?)?;
        }
        if let Some(future) = &self.future
            && block.first_sees < block.seen
        {
            // From the last key that the first query sees on: the second query sees one more, and so on.
            let start = (block.first_sees - 1).max(0);
            let column = (start - (block.first_sees - 1)).min(job.rows);
            let keys = block.seen - start;
            let future = future.f_narrow(0, 0, block.rows)?.f_narrow(1, column, keys)?;
            let _ = scores.f_narrow(1, start, keys)?.f_add_(&future)?;
        }
        Ok(scores)
    }

    /// The least that a query's largest score counts as: where it may see no key, and all of its scores are -∞, their
    /// powers are to be 0, not NaN.
    pub(super) fn floor(&self, block: &Block) -> f64 {
        if self.bias.is_some() || block.first_sees < 1 {
            f32::MIN.into()
        } else {
            f64::NEG_INFINITY
        }
    }

    /// The weights that were computed in the scores' place.
    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }
}

/// Memory for a block's weights. It begins where a tile of the mask does, at or before the first weight, so that whole
/// tiles can be drawn.
pub(super) struct Weights {
    memory: Tensor,
    keys: i64,
}

impl Weights {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let weights = (job.rows * job.keys) as usize;
        let whole_tiles = (TILE - 1 + weights).next_multiple_of(TILE);
        let memory = Tensor::f_zeros([whole_tiles as i64], (job.wide, job.device))?;
        Ok(Weights { memory, keys: job.keys })
    }

    /// A block's weights of the keys that it sees, `[rows, seen]`.
    pub(super) fn of(&self, block: &Block) -> Result<Tensor> {
        let offset = (block.first_weight % TILE) as i64;
        let all = self.memory.f_narrow(0, offset, block.rows * self.keys)?;
        Ok(all.f_view([block.rows, self.keys])?.f_narrow(1, 0, block.seen)?)
    }

    /// Multiplies a block's weights by their part of the mask. What lies around them takes any values.
    pub(super) fn drop(&self, mask: &ImplicitMask, block: &Block) -> Result<()> {
        let first = block.first_weight / TILE;
        for tiles in tiles_of(block, self.keys) {
            let (start, elements) = ((tiles.start - first) * TILE, tiles.len() * TILE);
            let mut part = self.memory.f_narrow(0, start as i64, elements as i64)?;
            mask.multiply_part(tiles.start as u64, &mut part)?;
        }
        Ok(())
    }
}

/// The mask's tiles that have weights of keys that a block sees.
fn tiles_of(block: &Block, keys: i64) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for row in 0..block.rows {
        let start = block.first_weight + (row * keys) as usize;
        let tiles = start / TILE..(start + block.seen as usize).div_ceil(TILE);
        match all.last_mut() {
            Some(last) if tiles.start <= last.end => last.end = last.end.max(tiles.end),
            _ => all.push(tiles),
        }
    }
    all
}
