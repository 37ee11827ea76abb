//! The gradients, from the same weights and the same mask, computed again.

use tch::Tensor;

use super::job::{Block, Job, detached};
use super::scores::{Scores, Weights};
use super::softmax;
use super::team::{self, Turns};
use crate::error::Result;

/// The gradients of the inputs that need one, given that of the result.
pub(super) fn backward(
    job: &Job,
    all: &[Tensor],
    logs: &Tensor,
    of_y: &Tensor,
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let all = all.iter().map(detached).collect::<Result<Vec<_>>>()?;
    let sums = Sums::new(job, &all, needed)?;
    // All heads may share a bias, and with it a gradient.
    let size = if sums.bias.is_some() { 1 } else { team::size(job) };
    let (of_y, turns) = (detached(of_y)?, Turns::new(job));
    let workers = (0..size).map(|_| Worker::new(job, &all, logs, &of_y, (sums.shared(), &turns)));
    team::run(workers.collect::<Result<_>>()?, job, Worker::run)?;
    sums.finish(&all)
}

/// The gradients, and where they are summed.
struct Sums {
    query: Option<Tensor>,
    /// `[heads, S, E]`
    key: Option<Tensor>,
    value: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Sums {
    fn new(job: &Job, all: &[Tensor], needed: &[bool]) -> Result<Self> {
        let is_needed = |input: usize| needed.get(input).copied().unwrap_or(false);
        // A sum over parts is rounded once, at the end.
        let kind = if job.parts == 1 { job.kind } else { job.wide };
        let of_keys = |input: usize, features: i64| {
            let size = [job.heads, job.keys, features];
            let sum = || Tensor::f_empty(size, (kind, job.device));
            is_needed(input).then(sum).transpose()
        };
        let query = || Tensor::f_empty(all[0].size(), (job.kind, job.device));
        let bias = || Tensor::f_zeros(all[3].size(), (job.wide, job.device));
        Ok(Sums {
            query: is_needed(0).then(query).transpose()?,
            key: of_keys(1, job.features)?,
            value: of_keys(2, job.values)?,
            bias: is_needed(3).then(bias).transpose()?,
        })
    }

    /// For another thread.
    fn shared(&self) -> Self {
        let [query, key, value, bias] = [&self.query, &self.key, &self.value, &self.bias]
            .map(|sum| sum.as_ref().map(Tensor::shallow_clone));
        Sums { query, key, value, bias }
    }

    /// Whether the gradient of the scores is needed.
    fn has_scores(&self) -> bool {
        self.query.is_some() || self.key.is_some() || self.bias.is_some()
    }

    fn finish(self, all: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        let like = |(sum, x): (Option<Tensor>, &Tensor)| -> Result<Option<Tensor>> {
            sum.map(|sum| Ok(sum.f_reshape(x.size())?.f_to_kind(x.kind())?)).transpose()
        };
        [self.query, self.key, self.value, self.bias].into_iter().zip(all).map(like).collect()
    }
}

/// What one thread works with.
struct Worker<'a> {
    /// Query, key and value.
    inputs: [Tensor; 3],
    logs: Tensor,
    of_y: Tensor,
    sums: Sums,
    turns: &'a Turns,
    scores: Scores,
    /// A head's values.
    value: Tensor,
    /// A block's part of the result's gradient.
    of_found: Tensor,
    dropped: Weights,
    of_scores: Tensor,
    of_query: Tensor,
    /// A task's sums.
    of_key: Tensor,
    of_value: Tensor,
}

impl<'a> Worker<'a> {
    fn new(
        job: &Job,
        all: &[Tensor],
        logs: &Tensor,
        of_y: &Tensor,
        (sums, turns): (Sums, &'a Turns),
    ) -> Result<Self> {
        Ok(Worker {
            inputs: [0, 1, 2].map(|i| all[i].shallow_clone()),
            logs: logs.shallow_clone(),
            of_y: of_y.shallow_clone(),
            sums,
            turns,
            scores: Scores::new(job, all.get(3))?,
            value: job.scratch([job.keys, job.values])?,
            of_found: job.scratch([job.rows, job.values])?,
            dropped: Weights::new(job)?,
            of_scores: job.scratch([1, job.rows * job.keys])?,
            of_query: job.scratch([job.rows, job.features])?,
            of_key: job.scratch([job.keys, job.features])?,
            of_value: job.scratch([job.keys, job.values])?,
        })
    }

    fn run(&mut self, job: &Job, task: i64) -> Result<()> {
        let (head, part) = job.head_and_part(task);
        let turn = self.turns.of((head, part));
        let [query, key, value] = &self.inputs;
        let query = job.head(query, head)?;
        self.scores.set_key(&job.head(key, head)?)?;
        self.value.f_copy_(&job.head(value, head)?)?;
        let _ = (self.of_key.f_zero_()?, self.of_value.f_zero_()?);
        job.blocks(task).try_for_each(|block| self.add(job, &block, &query))?;
        turn.wait();
        for (sums, sum) in [(&self.sums.key, &self.of_key), (&self.sums.value, &self.of_value)] {
            let Some(sums) = sums else { continue };
            let mut sums = sums.f_select(0, head)?;
            if part == 0 {
                sums.f_copy_(sum)?;
            } else {
                let _ = sums.f_add_(sum)?;
            }
        }
        Ok(())
    }

    /// Adds what a block gives. With `w` the weights, `m` the mask and `g` the gradient of what is found, values get
    /// `(w m)ᵀ · g`, and scores `w (d - Σ w d)`, where `d = m (g · valueᵀ)` and the sum is over a query's keys.
    fn add(&self, job: &Job, block: &Block, query: &Tensor) -> Result<()> {
        let mut weights = self.scores.compute(job, block, query)?;
        let logs = block.rows(&self.logs.f_select(0, block.head)?)?;
        let mut dropped = self.dropped.of(block)?;
        softmax::weights(&mut weights, &logs, &mut dropped)?;
        self.dropped.drop(&job.mask, block)?;

        let of_y = block.rows(&job.head(&self.of_y, block.head)?)?;
        let mut of_found = self.of_found.f_narrow(0, 0, block.rows)?;
        of_found.f_copy_(&of_y)?;
        if self.sums.value.is_some() {
            let mut sum = self.of_value.f_narrow(0, 0, block.seen)?;
            let _ = sum.f_addmm_(&dropped.f_transpose(0, 1)?, &of_found)?;
        }
        if !self.sums.has_scores() {
            return Ok(());
        }
        let value = self.value.f_narrow(0, 0, block.seen)?;
        let of_scores = self.of_scores.f_narrow(1, 0, block.rows * block.seen)?;
        let mut of_scores = of_scores.f_view([block.rows, block.seen])?;
        let _ = of_found.f_mm_out(&of_scores, &value.f_transpose(0, 1)?)?;
        softmax::of_scores(&mut of_scores, &weights, &dropped)?;
        self.add_of_scores(job, block, &of_scores)
    }

    fn add_of_scores(&self, job: &Job, block: &Block, of_scores: &Tensor) -> Result<()> {
        if let Some(sums) = &self.sums.query {
            let mut of_query = self.of_query.f_narrow(0, 0, block.rows)?;
            let _ = of_scores.f_mm_out(&of_query, &self.scores.key(block)?)?;
            let _ = of_query.f_mul_scalar_(job.formula.scale)?;
            block.rows(&job.head(sums, block.head)?)?.f_copy_(&of_query)?;
        }
        if self.sums.key.is_some() {
            let mut sum = self.of_key.f_narrow(0, 0, block.seen)?;
            let _ = sum.f_addmm_(&of_scores.f_transpose(0, 1)?, &self.scores.query(block)?)?;
        }
        if let Some(sums) = &self.sums.bias {
            let mut sum = block.part(&job.head(sums, block.head)?)?;
            let _ = sum.f_add_(&of_scores.f_sum_to_size(sum.size())?)?;
        }
        Ok(())
    }
}
