//! How many errors does dropout prevent on MNIST? Srivastava et al. 2014, Table 2 and Figure 4.
//!
//! The paper's networks have 3 hidden layers of 1024 rectified linear units, dropout of 0.5 (0.2 on the
//! pixels), and incoming weights whose norm is at most 2; they are trained by SGD with momentum for a million
//! steps. Here they are narrower (`--units`), and Adam takes many fewer steps (`--epochs`).

use std::fmt;

use anyhow::Result;
use picture::lines::{self, frame};
use picture::plane::{Plane, Scale};
use picture::style::Look;
use serde::Serialize;
use tch::nn::{ModuleT, VarStore};

use mnist_experiment::console::print;
use mnist_experiment::curves::across;
use mnist_experiment::layer::Layer;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;
use mnist_experiment::values::whole;

use crate::chart::line;
use crate::compare::print_differences;
use crate::network::mlp;
use crate::options::Options;
use crate::progress::Progress;
use crate::training::{Training, error};

const P: f64 = 0.5;
const P_PIXELS: f64 = 0.2;
const LAYERS: usize = 3;
const MAX_NORM: f64 = 2.0;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: Options,

    /// Units per hidden layer; the paper has 1024 [default: 512, or 64 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 16))]
    units: Option<i64>,

    /// Passes over the training set [default: 25, or 2 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 20))]
    epochs: Option<i64>,

    /// The networks to train, separated by commas [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = VARIANTS.map(|variant| variant.name))]
    networks: Vec<String>,
}

/// A way to train the network, and what the paper has for it.
struct Variant {
    name: &'static str,
    dropout: Layer,
    max_norm: bool,
    paper: Option<f64>,
}

const VARIANTS: [Variant; 5] = [
    Variant { name: "none", dropout: Layer::None, max_norm: false, paper: Some(1.60) },
    Variant { name: "columns", dropout: Layer::TrueDropout, max_norm: false, paper: None },
    Variant { name: "libtorch", dropout: Layer::Libtorch, max_norm: false, paper: Some(1.25) },
    Variant { name: "elements", dropout: Layer::Elements, max_norm: false, paper: Some(1.25) },
    Variant { name: "max-norm", dropout: Layer::Elements, max_norm: true, paper: Some(1.06) },
];

#[derive(Serialize)]
struct Outcome {
    name: &'static str,
    units: i64,
    /// Test errors in percent, after each epoch.
    errors: Vec<Summary>,
    /// The paper's, of its larger network.
    paper: Option<f64>,
    #[serde(skip)]
    look: Look,
}

pub fn run(args: &Args) -> Result<()> {
    let options = &args.options;
    let units = args.units.unwrap_or(options.full_or_quick(512, 64));
    let epochs = args.epochs.unwrap_or(options.full_or_quick(25, 2));
    let mut data = options.dataset()?;
    data.train = data.train.first(options.full_or_quick(data.train.items(), 2_000));
    let chosen = |variant: &&Variant| args.networks.iter().any(|name| name == variant.name);
    let variants: Vec<_> =
        VARIANTS.iter().filter(|variant| args.networks.is_empty() || chosen(variant)).collect();
    let work = data.train.items() * epochs * options.runs();
    let progress = Progress::new(variants.len() as i64 * work);

    let train = |variant: &Variant, seed| -> Result<Vec<f64>> {
        progress.begin(format_args!("{variant:10}, seed {seed}"));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let model = mlp(&vs.root(), &[units; LAYERS], variant.dropout, (P_PIXELS, P))?;
        let constrain = || {
            if variant.max_norm {
                constrain(&vs)
            }
        };
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        let mut errors = Vec::new();
        for _ in 0..epochs {
            training.epoch(|images, labels| {
                constrain();
                model.forward_t(images, true).cross_entropy_for_logits(labels)
            });
            constrain();
            errors.push(error(&model, &data.test)?);
        }
        progress.end(format_args!("{:.2} % wrong", errors[errors.len() - 1]));
        Ok(errors)
    };
    let mut results = Vec::new();
    for variant in variants {
        let runs: Vec<_> =
            options.seeds().map(|seed| train(variant, seed)).collect::<Result<_>>()?;
        let paper = options.paper(variant.paper, &data);
        let (name, look) = (variant.name, variant.look());
        results.push(Outcome { name, units, errors: across(runs.iter()), paper, look });
    }
    drop(progress);
    for outcome in &results {
        let paper =
            outcome.paper.map_or(String::new(), |error| format!(" (the paper: {error:.2} %)"));
        print(format_args!(
            "{:10}: {} % wrong{paper}",
            outcome.name,
            plus_minus(outcome.last(), 2)
        ))?;
    }
    print_differences(results.iter().map(|outcome| (outcome.name, outcome.last())))?;
    options.write("errors", &data.name, &results, &draw(&data.name, options, &results))
}

/// Max-norm regularization: scales down the weights of each hidden unit whose norm is too large.
fn constrain(vs: &VarStore) {
    tch::no_grad(|| {
        for (name, mut weight) in vs.variables() {
            if name.ends_with("weight") && !name.starts_with("last") {
                let norms = weight.norm_scalaropt_dim(2.0, [1], true);
                let _ = weight.g_mul_(&(MAX_NORM / norms).clamp_max(1.0));
            }
        }
    });
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl Variant {
    fn look(&self) -> Look {
        let look = self.dropout.look();
        if self.max_norm { look.dashed() } else { look }
    }
}

impl Outcome {
    /// After the last epoch.
    fn last(&self) -> &Summary {
        &self.errors[self.errors.len() - 1]
    }
}

/// The test error after each epoch.
fn draw(data: &str, options: &Options, results: &[Outcome]) -> String {
    let title = format!("How many errors does dropout prevent on {data}?");
    let description = "Test error after each epoch, a line for each way to train the same network.";
    let mut page = options.page(&title, description, 440.0, data);
    let epochs = results[0].errors.len();
    // The first third may begin above the picture: the fall would squeeze what comes of it.
    let late = || results.iter().flat_map(|outcome| &outcome.errors[epochs / 3..]);
    let least = late().map(|error| error.mean).fold(f64::MAX, f64::min);
    let most = late().map(|error| error.mean).fold(0.0, f64::max);
    let margin = 0.1 * (most - least).max(0.1);
    let plane = Plane {
        x: Scale::new(1.0..=epochs.max(2) as f64, (56.0, 560.0)),
        y: Scale::new((least - margin).max(0.0)..=most + margin, (374.0, 78.0)),
    };
    let runs = options.runs_in_words();
    let heading = format!("test error in %, mean ± standard deviation of {runs}");
    let chart = frame(&plane, &heading, "epoch")
        .add(plane.levels(&plane.y.ticks(8), |error| format!("{error:.1}")))
        .add(plane.labels(&plane.x.whole_ticks(8), |epoch| epoch.to_string()));
    let line = |outcome: &Outcome| {
        let name = format!("{}: {} %", outcome.name, plus_minus(outcome.last(), 2));
        line((name, outcome.look), (1..).map(f64::from), &outcome.errors)
    };
    page.add(lines::add(chart, &plane, results.iter().map(line).collect()));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn max_norm_shortens_long_weights_of_hidden_units_alone() {
        let _alone = crate::alone();
        let vs = VarStore::new(Device::Cpu);
        let _model = mlp(&vs.root(), &[3], Layer::None, (0.0, 0.0)).unwrap();
        let weight = |name: &str| vs.variables()[&format!("{name}.weight")].shallow_clone();
        let lengths = |name: &str| -> Vec<f64> {
            let lengths = weight(name).norm_scalaropt_dim(2.0, [1], false);
            Vec::try_from(lengths.to_kind(Kind::Double)).unwrap()
        };
        let scale = Tensor::from_slice(&[0.5f32, 1.0, 100.0]).unsqueeze(1);
        let _ = tch::no_grad(|| weight("0").g_mul_(&scale));
        let _ = tch::no_grad(|| weight("last").g_mul_scalar_(100.0));
        let (before, last) = (lengths("0"), lengths("last"));
        constrain(&vs);
        let after = lengths("0");
        assert_eq!(after[..2], before[..2]);
        assert!((after[2] - MAX_NORM).abs() < 1e-6 && before[2] > MAX_NORM, "{after:?}");
        assert_eq!(lengths("last"), last);
    }
}
