//! One training, and what came of it.

use std::time::Instant;

use anyhow::Result;
use tch::nn::{self, ModuleT, Optimizer, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::args::Args;
use crate::checkpoint;
use crate::curves::Curve;
use crate::data::{Dataset, Split};
use crate::layer::Layer;
use crate::metrics::Confusion;
use crate::model::Model;
use crate::progress::Progress;

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Run {
    pub macro_f1: f64,
    pub accuracy: f64,
    pub seconds_per_epoch: f64,
    /// Filled for `--plot` only: it costs an evaluation per epoch.
    pub curve: Curve,
}

const TEST_BATCH: i64 = 1000;

pub fn train(
    args: &Args,
    dataset: &Dataset,
    device: Device,
    layer: Layer,
    run: i64,
) -> Result<Run> {
    tch::manual_seed(args.seed + run);
    let vs = nn::VarStore::new(device);
    let model = Model::new(&vs.root(), args.model, layer, args.p, args.as_printed)?;
    let mut optimizer = nn::Adam::default().build(&vs, args.lr)?;
    let progress = Progress::new(args, dataset.train.items(), layer, run);

    let mut seconds = 0.0;
    let mut curve = Curve::default();
    for epoch in 1..=args.epochs {
        let start = Instant::now();
        let losses = train_epoch(&model, &mut optimizer, args, &dataset.train, &progress)?;
        seconds += start.elapsed().as_secs_f64();
        progress.epoch(epoch, losses[losses.len() - 1], seconds / epoch as f64);
        if args.plot.is_some() {
            curve.losses.extend(losses.into_iter().map(f64::from));
            curve.macro_f1.push(evaluate(&model, &dataset.test)?.macro_f1());
        }
    }
    if let Some(file) = &args.save {
        checkpoint::save(file, args.model, &vs)?;
    }
    let confusion = evaluate(&model, &dataset.test)?;
    Ok(Run {
        macro_f1: confusion.macro_f1(),
        accuracy: confusion.accuracy(),
        seconds_per_epoch: seconds / args.epochs as f64,
        curve,
    })
}

/// The loss of each step.
fn train_epoch(
    model: &Model,
    optimizer: &mut Optimizer,
    args: &Args,
    split: &Split,
    progress: &Progress,
) -> Result<Vec<f32>> {
    let mut losses = Vec::new();
    for (images, labels) in shuffled_batches(split, args.batch_size) {
        let loss = model.forward_t(&images, true).cross_entropy_for_logits(&labels);
        optimizer.backward_step(&loss);
        progress.step(&loss, losses.len(), labels.size()[0]);
        losses.push(loss.detach());
    }
    // To read them waits for a GPU to end its work, and one wait is better than many.
    Ok(Vec::try_from(Tensor::f_stack(&losses, 0)?)?)
}

/// One shuffle, then a gather per batch, all where the data lives.
fn shuffled_batches(split: &Split, size: i64) -> impl Iterator<Item = (Tensor, Tensor)> + '_ {
    let order = Tensor::randperm(split.items(), (Kind::Int64, split.labels.device()));
    (0..split.items()).step_by(size as usize).map(move |start| {
        let batch = order.narrow(0, start, size.min(split.items() - start));
        (split.images.index_select(0, &batch), split.labels.index_select(0, &batch))
    })
}

/// Predictions of a test set, batch by batch.
pub fn evaluate(model: &Model, split: &Split) -> Result<Confusion> {
    let _no_grad = tch::no_grad_guard();
    let predictions: Vec<Tensor> = split
        .images
        .split(TEST_BATCH, 0)
        .iter()
        .map(|images| model.forward_t(images, false).argmax(1, false))
        .collect();
    let predictions = Vec::try_from(Tensor::f_cat(&predictions, 0)?)?;
    Ok(Confusion::new(&Vec::try_from(&split.labels)?, &predictions))
}
