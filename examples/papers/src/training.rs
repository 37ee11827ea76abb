//! How the networks are trained: Adam, with a learning rate that falls to 0.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{Adam, ModuleT, Optimizer, OptimizerConfig, VarStore};

use mnist_experiment::data::Split;
use mnist_experiment::train::{evaluate, shuffled_batches};

use crate::progress::Progress;

const LEARNING_RATE: f64 = 1e-3;

pub struct Training<'a> {
    split: &'a Split,
    batch: i64,
    optimizer: Optimizer,
    steps: i64,
    step: i64,
    progress: &'a Progress,
}

impl<'a> Training<'a> {
    pub fn new(
        vs: &VarStore,
        split: &'a Split,
        (epochs, batch): (i64, i64),
        progress: &'a Progress,
    ) -> Result<Training<'a>> {
        let steps = epochs * (split.items() as u64).div_ceil(batch as u64) as i64;
        let optimizer = Adam::default().build(vs, LEARNING_RATE)?;
        Ok(Training { split, batch, optimizer, steps, step: 0, progress })
    }

    /// Takes a step for each batch; the loss is that of the images and labels in it.
    pub fn epoch(&mut self, mut loss: impl FnMut(&Tensor, &Tensor) -> Tensor) {
        for (images, labels) in shuffled_batches(self.split, self.batch) {
            let left = 1.0 - self.step as f64 / self.steps as f64;
            self.optimizer.set_lr(LEARNING_RATE * left);
            self.optimizer.backward_step(&loss(&images, &labels));
            self.step += 1;
            self.progress.done(labels.size()[0]);
        }
    }
}

/// The share of wrong answers, in percent.
pub fn error(model: &impl ModuleT, split: &Split) -> Result<f64> {
    Ok(100.0 * (1.0 - evaluate(model, split)?.confusion.accuracy()))
}
