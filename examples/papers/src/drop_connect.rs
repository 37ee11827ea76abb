//! DropConnect or Dropout? Wan et al. 2013, Table 1: MNIST without augmentation.
//!
//! The paper trains 784-800-800-10 networks of rectified linear units, by SGD, and draws a mask of the weights for
//! each image; here Adam trains them, and a mask that a batch shares is compared with that. The paper predicts with
//! DropConnect by moment matching, as in [`by_moments`]; that is compared with mean weights, and with Monte Carlo.

use std::f64::consts::{PI, SQRT_2};

use anyhow::Result;
use picture::page::text;
use picture::style::{self, Look};
use serde::Serialize;
use tch::nn::{self, Module, ModuleT, VarStore};
use tch::{Kind, Tensor};
use tch_dropout::{DropConnect, DropConnectConfig, MonteCarlo, TrueDropout, drop_connect};

use mnist_experiment::console::print;
use mnist_experiment::data::Split;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;
use mnist_experiment::values::whole;

use crate::compare::print_differences;
use crate::dots::{self, Row};
use crate::network::{CLASSES, PIXELS};
use crate::options::Options;
use crate::progress::Progress;
use crate::training::Training;

const P: f64 = 0.5;
const TEST_BATCH: i64 = 1_000;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: Options,

    /// Units per hidden layer [default: the paper's 800, or 64 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 16))]
    units: Option<i64>,

    /// Passes over the training set [default: 20, or 1 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 20))]
    epochs: Option<i64>,

    /// Train on the first so many images [default: all, or 5000 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 20))]
    images: Option<i64>,
}

/// What a network drops in training.
struct Dropping {
    name: &'static str,
    p_weights: f64,
    p_units: f64,
    /// Whether each image has a mask of the weights, or the batch shares one.
    per_image: bool,
}

const NETWORKS: [Dropping; 4] = [
    Dropping { name: "no dropout", p_weights: 0.0, p_units: 0.0, per_image: false },
    Dropping { name: "Dropout", p_weights: 0.0, p_units: P, per_image: false },
    Dropping { name: "DropConnect", p_weights: P, p_units: 0.0, per_image: false },
    Dropping { name: "DropConnect per image", p_weights: P, p_units: 0.0, per_image: true },
];

/// A network and a way to predict with it, and the paper's error for it.
const PREDICTORS: [(&str, Look, Option<f64>); 9] = [
    ("no dropout", style::NOTHING, Some(1.62)),
    ("Dropout, mean", style::ELEMENTS, Some(1.28)),
    ("Dropout, Monte Carlo", style::ELEMENTS, None),
    ("DropConnect, mean", style::WEIGHTS, None),
    ("DropConnect, moments", style::WEIGHTS, None),
    ("DropConnect, Monte Carlo", style::WEIGHTS, None),
    ("DropConnect per image, mean", style::WEIGHTS, None),
    ("DropConnect per image, moments", style::WEIGHTS, Some(1.20)),
    ("DropConnect per image, Monte Carlo", style::WEIGHTS, None),
];

#[derive(Serialize)]
struct Predictor {
    name: &'static str,
    #[serde(skip)]
    look: Look,
    /// In percent.
    test_error: Summary,
    paper: Option<f64>,
}

/// Two hidden layers, both with dropout of weights, of activations, or neither.
struct Network {
    hidden: [DropConnect; 2],
    dropout: TrueDropout,
    last: nn::Linear,
}

impl Network {
    fn new(vs: &nn::Path, units: i64, dropping: &Dropping) -> Result<Network> {
        let &Dropping { p_weights: p, p_units, per_image: per_sample, .. } = dropping;
        let config = DropConnectConfig { p, per_sample, ..Default::default() };
        Ok(Network {
            hidden: [
                drop_connect(vs / "first", PIXELS, units, config)?,
                drop_connect(vs / "second", units, units, config)?,
            ],
            dropout: TrueDropout::elements(p_units)?,
            last: nn::linear(vs / "last", units, CLASSES, Default::default()),
        })
    }

    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let hidden = self.hidden.iter().fold(images.shallow_clone(), |x, layer| {
            self.dropout.forward_t(&layer.forward_t(&x, train).relu(), train)
        });
        self.last.forward(&hidden)
    }

    /// The paper's inference: over all masks, the input of a unit is nearly normal, so the mean of its output
    /// is that of a rectified normal number. (The paper takes samples; this is the limit of many.)
    fn by_moments(&self, images: &Tensor) -> Tensor {
        let hidden = self.hidden.iter().fold(images.shallow_clone(), |x, layer| {
            let mean = layer.linear.forward(&x);
            let odds = layer.p() / (1.0 - layer.p());
            let variance = x.square().matmul(&layer.linear.ws.square().tr()) * odds;
            let deviation = variance.sqrt().clamp_min(1e-12);
            let z = &mean / &deviation;
            let density = (z.square() / -2.0).exp() / (2.0 * PI).sqrt();
            let distribution = ((z / SQRT_2).erf() + 1.0) / 2.0;
            mean * distribution + deviation * density
        });
        self.last.forward(&hidden)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let options = &args.options;
    let units = args.units.unwrap_or(options.full_or_quick(800, 64));
    let epochs = args.epochs.unwrap_or(options.full_or_quick(20, 1));
    let passes = options.full_or_quick(50, 5);
    let mut data = options.dataset()?;
    let images = args.images.unwrap_or(options.full_or_quick(i64::MAX, 5_000));
    data.train = data.train.first(images.min(data.train.items()));
    let progress =
        Progress::new(NETWORKS.len() as i64 * options.runs() * epochs * data.train.items());
    let train = |dropping: &Dropping, seed| -> Result<Network> {
        progress.begin(format_args!("{:21}, seed {seed}", dropping.name));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let network = Network::new(&vs.root(), units, dropping)?;
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        for _ in 0..epochs {
            training.epoch(|images, labels| {
                network.forward_t(images, true).cross_entropy_for_logits(labels)
            });
        }
        progress.end("trained");
        if dropping.per_image { sharing_masks(&vs, units) } else { Ok(network) }
    };
    let monte_carlo = |network: &Network| -> Result<f64> {
        let passes = MonteCarlo::new(passes)?.batch_size(TEST_BATCH)?;
        let images = &data.test.images;
        let prediction = passes.predict(|x, train| network.forward_t(x, train), images)?;
        Ok(error(&prediction.mean, &data.test))
    };
    let mean = |network: &Network| {
        error(&tch::no_grad(|| network.forward_t(&data.test.images, false)), &data.test)
    };
    let moments = |network: &Network| {
        error(&tch::no_grad(|| network.by_moments(&data.test.images)), &data.test)
    };
    let mut errors: [Vec<f64>; PREDICTORS.len()] = Default::default();
    for seed in options.seeds() {
        let networks: Vec<_> =
            NETWORKS.iter().map(|dropping| train(dropping, seed)).collect::<Result<_>>()?;
        let [none, dropout, connect @ ..] = &networks[..] else { unreachable!("there are four") };
        let mut run = vec![mean(none), mean(dropout), monte_carlo(dropout)?];
        for network in connect {
            run.extend([mean(network), moments(network), monte_carlo(network)?]);
        }
        errors.iter_mut().zip(run).for_each(|(errors, error)| errors.push(error));
    }
    drop(progress);
    let predictors = PREDICTORS.into_iter().zip(errors);
    let results: Vec<_> = predictors
        .map(|((name, look, paper), errors)| {
            let paper = options.paper(paper, &data);
            Predictor { name, look, test_error: Summary::new(errors), paper }
        })
        .collect();
    for Predictor { name, test_error, paper, .. } in &results {
        let paper = paper.map_or(String::new(), |error| format!(" (the paper: {error:.2} %)"));
        print(format_args!("{name:34}: {} % wrong{paper}", plus_minus(test_error, 2)))?;
    }
    // Compared with no dropout, and with Dropout.
    for first in [0, 1] {
        print_differences(results[first..].iter().map(|it| (it.name, &it.test_error)))?;
    }
    options.write("drop-connect", &data.name, &results, &draw(&data.name, options, &results))
}

/// A network of these weights whose batches share masks: for each image it predicts the same, up to chance, in less time.
fn sharing_masks(trained: &VarStore, units: i64) -> Result<Network> {
    let mut vs = VarStore::new(trained.device());
    let network = Network::new(&vs.root(), units, &NETWORKS[2])?;
    vs.copy(trained)?;
    Ok(network)
}

/// The share of wrong answers in percent; `scores` are highest for the answer.
fn error(scores: &Tensor, test: &Split) -> f64 {
    let right = scores.argmax(1, false).eq_tensor(&test.labels);
    let right = right.sum(None::<Kind>).int64_value(&[]);
    100.0 * (1.0 - right as f64 / test.items() as f64)
}

impl Predictor {
    fn row(&self) -> Row<'_> {
        let &Predictor { name, look, test_error: ref figure, paper } = self;
        Row { name, look, figure, paper }
    }
}

fn draw(data: &str, options: &Options, results: &[Predictor]) -> String {
    let title = "DropConnect or Dropout?";
    let description = "Test errors of networks without dropout, with Dropout and with DropConnect, whose masks \
                       a batch shares or each image has, and each with the ways to predict.";
    let mut page = options.page(title, description, 436.0, data);
    let heading = format!("test error on {data} in %, a dot for each run");
    page.add(text(heading, (14.0, 58.0), ""));
    let rows: Vec<_> = results.iter().map(Predictor::row).collect();
    page.add(dots::names(&rows, (14.0, 96.0)));
    page.add(dots::rows(&rows, &dots::scale(&rows, (312.0, 716.0)), 96.0, 2));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// The input of each unit is nearly normal, so the mean over masks is that of the formula, as far as 16,000
    /// masks can tell: an output's standard error is 0.006.
    #[test]
    fn moments_agree_with_many_masks() {
        let _alone = crate::alone();
        tch::manual_seed(1);
        let vs = VarStore::new(Device::Cpu);
        let network = Network::new(&vs.root(), 32, &NETWORKS[2]).unwrap();
        let images = Tensor::rand([8, PIXELS], (Kind::Float, Device::Cpu));
        let _no_grad = tch::no_grad_guard();
        // One hidden layer: the second passes on what it gets, and drops nothing.
        let [first, second] = &network.hidden;
        second.linear.ws.shallow_clone().copy_(&Tensor::eye(32, (Kind::Float, Device::Cpu)));
        let _ = second.linear.bs.as_ref().unwrap().shallow_clone().zero_();
        second.set_p(0.0).unwrap();
        let masks = 16_000;
        let by_masks = (0..masks)
            .map(|_| network.last.forward(&first.forward_t(&images, true).relu()))
            .sum::<Tensor>()
            / f64::from(masks);
        let by_mean = network.forward_t(&images, false);
        let apart = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        let moments = network.by_moments(&images);
        assert!(apart(&moments, &by_masks) < 0.03, "{}", apart(&moments, &by_masks));
        assert!(apart(&moments, &by_mean) > 0.1, "{}", apart(&moments, &by_mean));
    }
}
