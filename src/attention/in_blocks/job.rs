//! What is computed, and which blocks it has.

use std::sync::atomic::{AtomicUsize, Ordering};

use tch::{Device, Kind, Tensor};

use crate::attention::definition::{Causal, Formula};
use crate::error::Result;
use crate::implicit_mask::ImplicitMask;

/// How many weights a block has on a CPU, roughly; of a head that has no more, the definition is as fast. In f32 these are
/// 256 KiB, of which the second-level cache holds several. Tests set it, to have many blocks of a few weights.
pub static BLOCK: AtomicUsize = AtomicUsize::new(1 << 16);

/// The same on a GPU, whose kernels take microseconds to start: 16 MiB in f32.
const BLOCK_OF_GPU: usize = 1 << 22;

pub(super) fn block_of(device: Device) -> usize {
    if device == Device::Cpu { BLOCK.load(Ordering::Relaxed) } else { BLOCK_OF_GPU }
}

/// Into how many tasks the work is cut at least, for as many threads. It depends on nothing else, so that sums are added
/// in the same order on any number of threads.
const TASKS: i64 = 16;

/// What is computed, apart from the inputs' numbers.
pub(super) struct Job {
    pub(super) formula: Formula,
    pub(super) mask: ImplicitMask,
    /// The inputs' leading dimensions: batch and heads.
    pub(super) leading: Vec<i64>,
    pub(super) heads: i64,
    pub(super) queries: i64,
    pub(super) keys: i64,
    /// Of a query and a key.
    pub(super) features: i64,
    /// Of a value.
    pub(super) values: i64,
    /// The inputs' kind.
    pub(super) kind: Kind,
    /// The kind that is computed in.
    pub(super) wide: Kind,
    pub(super) device: Device,
    /// How many keys the first query sees; each further one sees one more if the job is causal.
    pub(super) first_sees: i64,
    /// How many queries a block has at most.
    pub(super) rows: i64,
    /// Into how many tasks a head is cut.
    pub(super) parts: i64,
}

/// Some queries of one head.
pub(super) struct Block {
    pub(super) head: i64,
    /// The first query.
    pub(super) start: i64,
    pub(super) rows: i64,
    /// How many keys the first query sees: less than 1 if it sees none.
    pub(super) first_sees: i64,
    /// How many keys the last query sees, and none sees more; but at least one, as an empty product has no softmax.
    pub(super) seen: i64,
    /// Where the first query's weights are among those of all heads.
    pub(super) first_weight: usize,
}

impl Job {
    pub(super) fn new(formula: Formula, mask: ImplicitMask, inputs: [&Tensor; 3]) -> Self {
        let [q, k, v] = inputs.map(Tensor::size);
        let (leading, [queries, features]) = split(&q);
        let (_, [keys, _]) = split(&k);
        let (_, [_, values]) = split(&v);
        let (kind, device) = (inputs[0].kind(), inputs[0].device());
        let heads = leading.iter().product();
        // Products of fewer than 64 rows are slower.
        let rows = (block_of(device) as i64 / keys.min(1024)).clamp(1, queries);
        let parts = match device {
            Device::Cpu => (TASKS as u64).div_ceil(heads as u64) as i64,
            _ => 1,
        };
        Job {
            formula,
            mask,
            first_sees: formula.causal.first_sees(queries, keys),
            leading: leading.to_vec(),
            heads,
            queries,
            keys,
            features,
            values,
            kind,
            wide: if kind == Kind::Double { Kind::Double } else { Kind::Float },
            device,
            rows,
            parts: parts.min((queries as u64).div_ceil(rows as u64) as i64),
        }
    }

    pub(super) fn is_causal(&self) -> bool {
        self.formula.causal != Causal::No
    }

    pub(super) fn tasks(&self) -> i64 {
        self.heads * self.parts
    }

    /// The head of a task, and which part of it.
    pub(super) fn head_and_part(&self, task: i64) -> (i64, i64) {
        (task / self.parts, task % self.parts)
    }

    pub(super) fn blocks(&self, task: i64) -> impl Iterator<Item = Block> + use<> {
        let (head, part) = self.head_and_part(task);
        let (rows, queries, keys, first_sees) =
            (self.rows, self.queries, self.keys, self.first_sees);
        let is_causal = self.is_causal();
        let blocks = (queries as u64).div_ceil(rows as u64) as i64;
        (part * blocks / self.parts..(part + 1) * blocks / self.parts).map(move |block| {
            let start = block * rows;
            let rows = rows.min(queries - start);
            let first_sees = if is_causal { first_sees + start } else { keys };
            Block {
                head,
                start,
                rows,
                first_sees,
                seen: (first_sees + rows - 1).clamp(1, keys),
                first_weight: ((head * queries + start) * keys) as usize,
            }
        })
    }

    /// One head's matrix of a tensor whose leading dimensions are these, or fewer, or of size 1.
    pub(super) fn head(&self, x: &Tensor, head: i64) -> Result<Tensor> {
        let size = x.size();
        let own = &size[..size.len() - 2];
        let (mut view, mut left) = (x.shallow_clone(), head);
        for (dim, &all) in (0..own.len()).rev().zip(self.leading.iter().rev()) {
            view = view.f_select(dim as i64, if own[dim] == 1 { 0 } else { left % all })?;
            left /= all;
        }
        Ok(view)
    }

    pub(super) fn scratch(&self, size: [i64; 2]) -> Result<Tensor> {
        Ok(Tensor::f_zeros(size, (self.wide, self.device))?)
    }
}

fn split(size: &[i64]) -> (&[i64], [i64; 2]) {
    let (leading, matrix) =
        size.split_last_chunk().expect("the number of dimensions has been checked");
    (leading, *matrix)
}

impl Block {
    /// This block's rows of a matrix with one for each query.
    pub(super) fn rows(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_narrow(0, self.start, self.rows)?)
    }

    /// This block's part of a matrix that broadcasts over its head's weights.
    pub(super) fn part(&self, x: &Tensor) -> Result<Tensor> {
        let size = x.size();
        let rows = if size[0] == 1 { x.shallow_clone() } else { self.rows(x)? };
        Ok(if size[1] == 1 { rows } else { rows.f_narrow(1, 0, self.seen)? })
    }
}

/// A tensor that no graph knows.
pub(super) fn detached(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_detach()?)
}
