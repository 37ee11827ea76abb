//! One training, and what came of it.

use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::args::Args;
use crate::data::{Dataset, Split};
use crate::metrics::Confusion;
use crate::model::{Layer, Model};

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub macro_f1: f64,
    pub accuracy: f64,
    pub seconds_per_epoch: f64,
}

/// Steps between two looks at the loss: on a GPU, each look waits for it.
const STEPS_PER_LOOK: usize = 50;

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
    let model = Model::new(&vs.root(), layer, args.p, args.as_printed)?;
    let mut optimizer = nn::Adam::default().build(&vs, args.lr)?;
    let progress = Progress::new(args, dataset, layer, run);

    let mut seconds = 0.0;
    for epoch in 0..args.epochs {
        let start = Instant::now();
        let mut loss = Tensor::new();
        for (step, (images, labels)) in
            shuffled_batches(&dataset.train, args.batch_size).enumerate()
        {
            loss = model.forward_t(&images, true).cross_entropy_for_logits(&labels);
            optimizer.backward_step(&loss);
            progress.step(&loss, step, labels.size()[0]);
        }
        if let Device::Cuda(index) = device {
            tch::Cuda::synchronize(index as i64);
        }
        seconds += start.elapsed().as_secs_f64();
        progress.epoch(epoch + 1, &loss, seconds / (epoch + 1) as f64);
    }
    let confusion = evaluate(&model, &dataset.test)?;
    Ok(Run {
        macro_f1: confusion.macro_f1(),
        accuracy: confusion.accuracy(),
        seconds_per_epoch: seconds / args.epochs as f64,
    })
}

/// One shuffle, then a gather per batch, all where the data lives.
fn shuffled_batches(split: &Split, size: i64) -> impl Iterator<Item = (Tensor, Tensor)> + '_ {
    let order = Tensor::randperm(split.len(), (Kind::Int64, split.labels.device()));
    (0..split.len()).step_by(size as usize).map(move |start| {
        let batch = order.narrow(0, start, size.min(split.len() - start));
        (split.images.index_select(0, &batch), split.labels.index_select(0, &batch))
    })
}

fn evaluate(model: &Model, split: &Split) -> Result<Confusion> {
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

/// A bar on a terminal, a line per epoch elsewhere.
struct Progress {
    bar: ProgressBar,
    title: String,
    epochs: i64,
    images: i64,
}

impl Progress {
    fn new(args: &Args, dataset: &Dataset, layer: Layer, run: i64) -> Self {
        let images = dataset.train.len();
        let bar = ProgressBar::new((args.epochs * images) as u64);
        let title = format!("{layer:12} run {}/{}", run + 1, args.runs);
        bar.set_style(
            ProgressStyle::with_template("{prefix} {wide_bar} loss {msg} {per_sec} {eta}")
                .expect("a template that indicatif knows")
                .with_key(
                    "per_sec",
                    |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                        let _ = write!(out, "{:.0} images/s", state.per_sec());
                    },
                ),
        );
        bar.set_prefix(title.clone());
        Progress { bar, title, epochs: args.epochs, images }
    }

    fn step(&self, loss: &Tensor, step: usize, images: i64) {
        if self.bar.is_hidden() {
            return;
        }
        if step.is_multiple_of(STEPS_PER_LOOK) {
            self.bar.set_message(format!("{:.3}", loss.double_value(&[])));
        }
        self.bar.inc(images as u64);
    }

    fn epoch(&self, epoch: i64, loss: &Tensor, seconds: f64) {
        if self.bar.is_hidden() {
            eprintln!(
                "{} epoch {epoch}/{}: loss {:.3}, {:.0} images/s",
                self.title,
                self.epochs,
                loss.double_value(&[]),
                self.images as f64 / seconds
            );
        }
        if epoch == self.epochs {
            self.bar.finish_and_clear();
        }
    }
}
