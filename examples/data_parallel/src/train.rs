//! Training, as each rank does it.

use anyhow::{Context, Result};
use mnist_experiment::data::{self, Dataset};
use mnist_experiment::metrics::Confusion;
use mnist_experiment::train::evaluate;
use serde_json::json;
use tch::{Device, Kind};

use crate::args::Args;
use crate::batches;
use crate::checkpoint::Checkpoint;
use crate::flat::digest;
use crate::ranks::Ranks;
use crate::replica::Replica;
use crate::watch::{Time, Watch};

/// What training came to.
pub struct Run {
    pub ranks: usize,
    pub confusion: Confusion,
    /// `None` if a checkpoint had all steps already.
    pub time: Option<Time>,
    /// Of the weights of all replicas.
    pub digest: u64,
}

/// Trains with all other ranks. The first of them has the result.
pub fn train(ranks: &Ranks, args: &Args) -> Result<Option<Run>> {
    tch::set_num_threads(args.threads as i32);
    let data = load_data(ranks, args)?;
    let mut replica = Replica::new(ranks, &args.config)?;
    replica.ensure_same(ranks)?;
    let checkpoint = open_checkpoint(ranks, args, &data)?;
    if let Some(checkpoint) = checkpoint.as_ref().filter(|_| args.resume) {
        checkpoint.load(ranks, &mut replica.state)?;
    }

    let (items, batch_size) = (data.train.items(), args.config.batch_size);
    let per_epoch = batches::per_epoch(items, batch_size);
    let steps = args.epochs.checked_mul(per_epoch).context("there are too many epochs")?;
    let taken = replica.state.adam.t;
    let mut watch = Watch::start(ranks, &data, (args.epochs, per_epoch, batch_size), taken);
    // The shuffles before a checkpoint are drawn again.
    let batches = batches::shuffled(items, batch_size).skip(taken as usize);
    for (step, batch) in (taken + 1..=steps).zip(batches) {
        let share = batches::share(&data.train, &batch, ranks.rank(), ranks.size());
        let loss = replica.step(ranks, &share, args.config.lr)?;
        watch.step(step, loss);
        if let Some(checkpoint) = &checkpoint
            && (step % args.checkpoint_every == 0 || step == steps)
        {
            replica.ensure_same(ranks)?;
            checkpoint.save(ranks, &replica.state)?;
        }
    }
    let (time, digest) = (watch.time(), replica.ensure_same(ranks)?);
    if !ranks.is_first() {
        return Ok(None);
    }
    let confusion = evaluate(&replica.model, &data.test)?.confusion;
    Ok(Some(Run { ranks: ranks.size(), confusion, time, digest }))
}

/// The first rank goes ahead, so that one rank downloads MNIST for all others with the same file system.
fn load_data(ranks: &Ranks, args: &Args) -> Result<Dataset> {
    let data = ranks.first_before_others(|| match args.synthetic {
        true => data::synthetic(Device::Cpu),
        false => data::load(args.data_dir.as_deref(), Device::Cpu),
    })?;
    let sums = data.train.images.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
    ranks.ensure_same("training images", digest(&sums)?)?;
    ranks.ensure_same("labels", digest(&data.train.labels.f_to_kind(Kind::Float)?)?)?;
    Ok(data)
}

fn open_checkpoint(ranks: &Ranks, args: &Args, data: &Dataset) -> Result<Option<Checkpoint>> {
    let Args { config, resume, .. } = args;
    let run = json!({ "ranks": ranks.size(), "data": data.name, "config": config });
    let open = |directory| Checkpoint::open(ranks, directory, run.to_string(), *resume);
    args.checkpoint.as_deref().map(open).transpose()
}
