//! A replica of the model, on each rank.

use anyhow::Result;
use tch::nn::{ModuleT, VarStore};
use tch::{Device, Tensor};
use tch_dropout::Streams;

use crate::adam::Adam;
use crate::args::Config;
use crate::batches::Share;
use crate::checkpoint::State;
use crate::flat::{digest, flatten, unflatten};
use crate::gradient;
use crate::model::Model;
use crate::ranks::Ranks;

pub struct Replica {
    pub model: Model,
    pub state: State,
    variables: Vec<Tensor>,
}

impl Replica {
    /// One seed for all ranks: they begin with the same weights. Each is a worker of its own: their masks are
    /// independent.
    pub fn new(ranks: &Ranks, config: &Config) -> Result<Replica> {
        tch::manual_seed(config.seed);
        let vs = VarStore::new(Device::Cpu);
        let streams = Streams::new(config.seed as u64).with_worker(ranks.worker()?);
        let model = Model::new(&vs.root(), &streams, config.p)?;
        let variables = vs.trainable_variables();
        let adam = Adam::new(flatten(&variables)?.numel() as i64)?;
        Ok(Replica { model, state: State { vs, adam, streams }, variables })
    }

    /// Trains on a batch, of which this rank has a share. Returns the batch's mean loss.
    pub fn step(&mut self, ranks: &Ranks, share: &Share, lr: f64) -> Result<f32> {
        let Share { images, labels, part } = share;
        // A rank without rows draws no mask, and so its streams take no step.
        let loss = (*part > 0.0)
            .then(|| self.model.forward_t(images, true).cross_entropy_for_logits(labels));
        let gradient = gradient::of_batch(ranks, &self.variables, loss.as_ref(), *part)?;
        let _no_grad = tch::no_grad_guard();
        let mut weights = flatten(&self.variables)?;
        self.state.adam.step(&mut weights, &gradient.vector, lr)?;
        unflatten(&weights, &mut self.variables)?;
        Ok(gradient.loss)
    }

    /// Fails unless all replicas have the same weights, and returns their digest. MPI might have made them
    /// differ, or processors of different kinds, on which libtorch may round differently.
    pub fn ensure_same(&self, ranks: &Ranks) -> Result<u64> {
        let digest = digest(&flatten(&self.variables)?)?;
        ranks.ensure_same("weights", digest)?;
        Ok(digest)
    }
}
