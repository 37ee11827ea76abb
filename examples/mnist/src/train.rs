//! One training run and its results.

use std::time::Instant;

use anyhow::Result;
use tch::nn::{self, ModuleT, Optimizer, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};

use crate::args::Config;
use crate::curves::Curve;
use crate::data::{Dataset, Split};
use crate::layer::Layer;
use crate::metrics::{Confusion, median};
use crate::model::Model;
use crate::progress::Progress;

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Run {
    pub macro_f1: f64,
    pub accuracy: f64,
    /// The last epoch's mean.
    pub training_loss: f64,
    pub test_loss: f64,
    /// The median epoch's.
    pub seconds_per_epoch: f64,
    pub curve: Curve,
}

impl Run {
    /// Whether a loss is no longer finite.
    pub fn has_diverged(&self) -> bool {
        !(self.training_loss.is_finite() && self.test_loss.is_finite())
    }
}

const TEST_BATCH: i64 = 1000;

/// Trains a model, and returns its variables too. A curve costs an evaluation per epoch.
pub fn train(
    config: &Config,
    layer: Layer,
    run: i64,
    (dataset, device): (&Dataset, Device),
    with_curve: bool,
) -> Result<(Run, VarStore)> {
    tch::manual_seed(config.seed + run);
    let vs = VarStore::new(device);
    let model = Model::new(&vs.root(), config.model, layer, config.p, config.as_printed)?;
    let mut optimizer = nn::Adam::default().build(&vs, config.lr)?;
    let title = format!("{layer:12} run {}/{}", run + 1, config.runs);
    let progress = Progress::new(title, config.epochs, dataset.train.items());

    let (mut seconds, mut training_loss) = (Vec::new(), f64::NAN);
    let mut curve = Curve::default();
    for number in 1..=config.epochs {
        let start = Instant::now();
        let losses = epoch(&model, &mut optimizer, &dataset.train, config.batch_size, &progress)?;
        let elapsed = start.elapsed().as_secs_f64();
        seconds.push(elapsed);
        progress.epoch(number, losses[losses.len() - 1], elapsed);
        let losses = losses.into_iter().map(f64::from);
        training_loss = losses.clone().sum::<f64>() / losses.len() as f64;
        if with_curve {
            curve.losses.extend(losses);
            curve.macro_f1.push(evaluate(&model, &dataset.test)?.confusion.macro_f1());
        }
    }
    let test = evaluate(&model, &dataset.test)?;
    let run = Run {
        macro_f1: test.confusion.macro_f1(),
        accuracy: test.confusion.accuracy(),
        training_loss,
        test_loss: test.loss,
        seconds_per_epoch: median(seconds),
        curve,
    };
    Ok((run, vs))
}

/// Trains on each image once, and returns the loss of each step.
pub fn epoch(
    model: &impl ModuleT,
    optimizer: &mut Optimizer,
    split: &Split,
    batch_size: i64,
    progress: &Progress,
) -> Result<Vec<f32>> {
    let mut losses = Vec::new();
    for (images, labels) in shuffled_batches(split, batch_size) {
        let loss = model.forward_t(&images, true).cross_entropy_for_logits(&labels);
        optimizer.backward_step(&loss);
        progress.step(&loss, losses.len(), labels.size()[0]);
        losses.push(loss.detach());
    }
    // To read them waits for a GPU to end its work, and one wait is better than many.
    Ok(Vec::try_from(Tensor::f_stack(&losses, 0)?)?)
}

/// One shuffle, then a gather per batch, all on the data's device.
pub fn shuffled_batches(split: &Split, size: i64) -> impl Iterator<Item = (Tensor, Tensor)> + '_ {
    let order = Tensor::randperm(split.items(), (Kind::Int64, split.labels.device()));
    (0..split.items()).step_by(size as usize).map(move |start| {
        let batch = order.narrow(0, start, size.min(split.items() - start));
        (split.images.index_select(0, &batch), split.labels.index_select(0, &batch))
    })
}

/// A model's results on a test set.
pub struct Evaluation {
    pub confusion: Confusion,
    pub loss: f64,
}

/// Evaluates a model, batch by batch.
pub fn evaluate(model: &impl ModuleT, split: &Split) -> Result<Evaluation> {
    let _no_grad = tch::no_grad_guard();
    let outputs: Vec<Tensor> =
        split.images.split(TEST_BATCH, 0).iter().map(|it| model.forward_t(it, false)).collect();
    let outputs = Tensor::f_cat(&outputs, 0)?;
    let predictions = Vec::try_from(outputs.f_argmax(1, false)?)?;
    Ok(Evaluation {
        confusion: Confusion::new(&Vec::try_from(&split.labels)?, &predictions),
        loss: outputs.cross_entropy_for_logits(&split.labels).double_value(&[]),
    })
}
