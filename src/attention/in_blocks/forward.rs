//! What the queries find, and one logarithm of a sum for each.

use tch::Tensor;

use super::job::{Block, Job, detached};
use super::scores::Scores;
use super::softmax;
use super::team;
use crate::error::Result;

/// `mask(softmax(query · keyᵀ · scale + bias)) · value`, and `[heads, T, 1]`: the logarithm of the sum of each query's
/// powers. `all` has the query, the key, the value, and a bias if there is one.
pub(super) fn forward(job: &Job, all: &[&Tensor]) -> Result<(Tensor, Tensor)> {
    let all = all.iter().map(|x| detached(x)).collect::<Result<Vec<_>>>()?;
    let size = [&job.leading[..], &[job.queries, job.values]].concat();
    let y = Tensor::f_empty(size, (job.kind, job.device))?;
    let logs = Tensor::f_empty([job.heads, job.queries, 1], (job.wide, job.device))?;
    let workers = (0..team::size(job)).map(|_| Worker::new(job, &all, &y, &logs));
    team::run(workers.collect::<Result<_>>()?, job, Worker::run)?;
    Ok((y, logs))
}

/// What one thread works with.
struct Worker {
    /// Query, key and value.
    inputs: [Tensor; 3],
    y: Tensor,
    logs: Tensor,
    scores: Scores,
    /// A head's values.
    value: Tensor,
    found: Tensor,
}

impl Worker {
    fn new(job: &Job, all: &[Tensor], y: &Tensor, logs: &Tensor) -> Result<Self> {
        Ok(Worker {
            inputs: [0, 1, 2].map(|i| all[i].shallow_clone()),
            y: y.shallow_clone(),
            logs: logs.shallow_clone(),
            scores: Scores::new(job, all.get(3))?,
            value: job.scratch([job.keys, job.values])?,
            found: job.scratch([job.rows, job.values])?,
        })
    }

    fn run(&mut self, job: &Job, task: i64) -> Result<()> {
        let (head, _) = job.head_and_part(task);
        let [query, key, value] = &self.inputs;
        let (query, y) = (job.head(query, head)?, job.head(&self.y, head)?);
        self.scores.set_key(&job.head(key, head)?)?;
        self.value.f_copy_(&job.head(value, head)?)?;
        job.blocks(task).try_for_each(|block| self.attend(job, &block, &query, &y))
    }

    fn attend(&self, job: &Job, block: &Block, query: &Tensor, y: &Tensor) -> Result<()> {
        let mut weights = self.scores.compute(job, block, query)?;
        // The largest power is 1, but for queries that see nothing: these have 0 powers, of sum 0.
        let [largest, mut sum] = softmax::powers(&mut weights, self.scores.floor(block))?;
        let _ = sum.f_clamp_min_(1.0)?;
        let mut logs = block.rows(&self.logs.f_select(0, block.head)?)?;
        logs.f_copy_(&sum.f_log()?.f_add_(&largest)?)?;
        self.scores.weights().drop(&job.mask, block)?;
        let mut found = self.found.f_narrow(0, 0, block.rows)?;
        let _ = weights.f_mm_out(&found, &self.value.f_narrow(0, 0, block.seen)?)?;
        block.rows(y)?.f_copy_(&found.f_div_(&sum)?)?;
        Ok(())
    }
}
