//! How many errors does dropout prevent on MNIST? Srivastava et al. 2014, Table 2 and Figure 4.
//!
//! The paper's networks have 3 hidden layers of 1024 rectified linear units, dropout of 0.5 (0.2 on the
//! pixels), and incoming weights whose norm is at most 2; they are trained by SGD with momentum for a million
//! steps. Here Adam takes 48,000 steps, or as few as are asked for (`--epochs`, `--units`).

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use picture::style::Look;
use tch::Device;
use tch::nn::{ModuleT, VarStore};

use mnist_experiment::console::note;
use mnist_experiment::curves::across;
use mnist_experiment::data::Dataset;
use mnist_experiment::layer::Layer;
use mnist_experiment::values::whole;

use crate::network::mlp;
use crate::options::Options;
use crate::progress::Progress;
use crate::training::{Training, error};

use drawing::draw;
use outcome::{Outcome, print_all, read_all};

mod drawing;
mod outcome;

const P: f64 = 0.5;
const P_PIXELS: f64 = 0.2;
const LAYERS: usize = 3;
const MAX_NORM: f64 = 2.0;

/// For who starts the whole experiment on a CPU.
const SLOW: &str = "On a CPU this takes 45 minutes of a core for each network and seed. `--units 512 --epochs 25 --batch-size 100` takes half \
     an hour in all.";

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: Options,

    /// Units per hidden layer [default: the paper's 1024, or 64 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 16))]
    units: Option<i64>,

    /// Passes over the training set [default: 200, or 2 with --quick]
    #[arg(long, value_parser = whole(1..=1 << 20))]
    epochs: Option<i64>,

    /// The networks to train, separated by commas [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = VARIANTS.each_ref().map(|variant| variant.name))]
    networks: Vec<String>,

    /// Train nothing: compare and draw what is in JSON files of this experiment, which may have trained other networks,
    /// or for more passes
    #[arg(long, value_name = "FILE,...", value_delimiter = ',', conflicts_with_all = ["units", "epochs", "networks", "json", "batch_size", "runs", "seed", "quick", "synthetic", "data_dir"])]
    from: Vec<PathBuf>,
}

/// A way to train the network, and what the paper has for it.
struct Variant {
    name: &'static str,
    dropout: Layer,
    max_norm: bool,
    paper: Option<f64>,
}

static VARIANTS: [Variant; 5] = [
    Variant { name: "none", dropout: Layer::None, max_norm: false, paper: Some(1.60) },
    Variant { name: "columns", dropout: Layer::TrueDropout, max_norm: false, paper: None },
    Variant { name: "libtorch", dropout: Layer::Libtorch, max_norm: false, paper: Some(1.25) },
    Variant { name: "elements", dropout: Layer::Elements, max_norm: false, paper: Some(1.25) },
    Variant { name: "max-norm", dropout: Layer::Elements, max_norm: true, paper: Some(1.06) },
];

pub fn run(args: &Args) -> Result<()> {
    let options = &args.options;
    if !args.from.is_empty() {
        options.check()?;
        let (data, results) = read_all(&args.from)?;
        print_all(&results)?;
        return options.write("errors", &data, &results, &draw(&data, options, &results));
    }
    let mut data = options.dataset()?;
    data.train = data.train.first(options.full_or_quick(data.train.items(), 2_000));
    let results = train_all(args, &data)?;
    print_all(&results)?;
    options.write("errors", &data.name, &results, &draw(&data.name, options, &results))
}

/// A result for each network.
fn train_all(args: &Args, data: &Dataset) -> Result<Vec<Outcome>> {
    let options = &args.options;
    let units = args.units.unwrap_or(options.full_or_quick(1024, 64));
    let epochs = args.epochs.unwrap_or(options.full_or_quick(200, 2));
    let batch_size = options.batch_size.unwrap_or(options.full_or_quick(250, 100));
    let chosen = |variant: &&Variant| args.networks.iter().any(|name| name == variant.name);
    let variants: Vec<_> =
        VARIANTS.iter().filter(|variant| args.networks.is_empty() || chosen(variant)).collect();
    if data.device() == Device::Cpu && !options.quick && args.epochs.is_none() {
        note(SLOW);
    }
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
        let mut training = Training::new(&vs, &data.train, (epochs, batch_size), &progress)?;
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
    let train_each = |variant: &Variant| -> Result<Outcome> {
        let runs: Vec<_> =
            options.seeds().map(|seed| train(variant, seed)).collect::<Result<_>>()?;
        let paper = options.paper(variant.paper, data);
        let (name, errors) = (variant.name.to_owned(), across(runs.iter()));
        Ok(Outcome { name, units, errors, paper })
    };
    variants.into_iter().map(train_each).collect()
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
    /// The one of this name, and its place among all.
    fn named(name: &str) -> Option<(usize, &'static Variant)> {
        VARIANTS.iter().enumerate().find(|(_, variant)| variant.name == name)
    }

    fn look(&self) -> Look {
        let look = self.dropout.look();
        if self.max_norm { look.dashed() } else { look }
    }
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
