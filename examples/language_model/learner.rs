//! A model in training, and what its losses were.

use anyhow::Result;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Tensor};

use crate::model::Architecture;
use crate::text::{Batch, Text};

/// Gradients that are longer in all are shortened to this.
const LONGEST_GRADIENT: f64 = 1.0;

pub struct Learner {
    pub name: &'static str,
    /// The losses so far, each with its step.
    pub history: Vec<(u32, Losses)>,
    vs: nn::VarStore,
    model: Box<dyn ModuleT>,
    optimizer: nn::Optimizer,
}

/// The loss on the training text and on the validation text, with dropout off: in nats per character.
#[derive(Clone, Copy)]
pub struct Losses {
    pub training: f64,
    pub validation: f64,
}

impl Learner {
    pub fn new(
        name: &'static str,
        architecture: Architecture,
        (symbols, device): (i64, Device),
        scale: f64,
    ) -> Result<Learner> {
        let vs = nn::VarStore::new(device);
        let model = architecture.build(&vs.root(), symbols, scale)?;
        let optimizer = nn::AdamW::default().build(&vs, architecture.learning_rate())?;
        Ok(Learner { name, history: Vec::new(), vs, model, optimizer })
    }

    /// Takes over the other's weights.
    pub fn begin_as(&mut self, other: &Learner) -> Result<()> {
        Ok(self.vs.copy(&other.vs)?)
    }

    /// How many numbers are learned.
    pub fn weights(&self) -> usize {
        self.vs.trainable_variables().iter().map(Tensor::numel).sum()
    }

    pub fn learn(&mut self, batch: &Batch) {
        let loss = self.loss(batch, true);
        self.optimizer.backward_step_clip_norm(&loss, LONGEST_GRADIENT);
    }

    pub fn measure(&mut self, step: u32, text: &Text) -> Losses {
        let loss = |batch| tch::no_grad(|| self.loss(&batch, false).double_value(&[]));
        let losses = Losses {
            training: loss(text.for_comparison()),
            validation: loss(text.for_validation()),
        };
        self.history.push((step, losses));
        losses
    }

    /// The step with the lowest validation loss, and that loss.
    pub fn best(&self) -> Option<(u32, f64)> {
        let losses = self.history.iter().map(|&(step, losses)| (step, losses.validation));
        losses.filter(|(_, loss)| !loss.is_nan()).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn loss(&self, batch: &Batch, train: bool) -> Tensor {
        let logits = self.model.forward_t(&batch.inputs, train);
        logits.flatten(0, 1).cross_entropy_for_logits(&batch.targets.flatten(0, 1))
    }
}
