//! The command line.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use serde::Serialize;

use crate::data::DEFAULT_DIRECTORY;
use crate::device::Choice;
use crate::layer::Layer;
use crate::model::Architecture;
use crate::output;
use crate::values::{learning_rate, probability, svg, whole};

/// Trains a model on MNIST once per dropout layer, and compares them
#[derive(Parser, Debug)]
#[command(name = "mnist", max_term_width = 100, allow_negative_numbers = true)]
pub struct Args {
    /// Where to train: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto")]
    pub device: Choice,

    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Train on built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    /// Which layers to compare
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = Layer::DEFAULT)]
    pub layers: Vec<Layer>,

    #[command(flatten)]
    pub config: Config,

    /// Write all figures to a JSON file, updated after each run
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw loss and macro F1 to an SVG file, updated after each run
    #[arg(long, value_name = "FILE.svg", value_parser = PathBufValueParser::new().try_map(svg))]
    pub plot: Option<PathBuf>,

    /// Save the trained model as safetensors; takes one layer and one run
    #[arg(long, value_name = "FILE", conflicts_with = "as_printed")]
    pub save: Option<PathBuf>,

    /// Evaluate a model that --save wrote, instead of training one
    #[arg(long, value_name = "FILE", conflicts_with_all = TRAINING)]
    pub load: Option<PathBuf>,
}

/// What determines the figures.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Config {
    /// What to train
    #[arg(long, value_enum, default_value_t = Architecture::Article)]
    pub model: Architecture,

    /// Train on the first N images only, so that there is something to overfit
    #[arg(long, value_name = "N", value_parser = whole(1..=i64::MAX))]
    pub train_limit: Option<i64>,

    /// The probability of dropping
    #[arg(long, default_value_t = 0.5, value_parser = probability)]
    pub p: f64,

    /// Passes over the training set
    #[arg(long, default_value_t = 2, value_parser = whole(1..=i64::MAX))]
    pub epochs: i64,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=i64::MAX))]
    pub batch_size: i64,

    /// Adam's learning rate
    #[arg(long, default_value_t = 1e-3, value_parser = learning_rate)]
    pub lr: f64,

    /// The first run's seed; each further run adds 1
    #[arg(long, default_value_t = 0, value_parser = whole(i64::MIN..=i64::MAX))]
    pub seed: i64,

    /// Training runs per layer, each with its own seed
    #[arg(long, default_value_t = 1, value_parser = whole(1..=i64::MAX))]
    pub runs: i64,

    /// Use the forward pass as the article prints it, which returns x where it means output
    #[arg(long)]
    pub as_printed: bool,
}

/// Options of training, which make no sense in an evaluation.
const TRAINING: [&str; 12] = [
    "train_limit",
    "layers",
    "p",
    "epochs",
    "batch_size",
    "lr",
    "seed",
    "runs",
    "as_printed",
    "json",
    "plot",
    "save",
];

impl Args {
    /// Reads the command line. A mistake ends the program.
    pub fn read() -> Args {
        let args = Args::parse();
        if let Err(error) = args.check() {
            Args::command().error(ErrorKind::ValueValidation, error).exit();
        }
        args
    }

    /// Checks options against each other.
    fn check(&self) -> Result<()> {
        let Config { model, seed, runs, as_printed, .. } = self.config;
        for (i, layer) in self.layers.iter().enumerate() {
            ensure!(!self.layers[..i].contains(layer), "--layers names {layer} twice");
        }
        ensure!(seed.checked_add(runs).is_some(), "--seed {seed} is too large");
        let layers = self.layers.len();
        ensure!(
            self.save.is_none() || (layers, runs) == (1, 1),
            "--save takes one layer and one run, got {layers} of --layers and {runs} of --runs"
        );
        ensure!(
            !as_printed || model == Architecture::Article,
            "--as-printed is a slip of --model article, got --model {model}"
        );
        self.check_outputs()
    }

    fn check_outputs(&self) -> Result<()> {
        let mut taken = HashMap::new();
        for file in self.outputs() {
            if let Some(other) = taken.insert(output::destination(file), file) {
                let (other, file) = (other.display(), file.display());
                bail!("two outputs would go to one file, got {other} and {file}");
            }
        }
        Ok(())
    }

    /// The files that will be written.
    pub fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.plot, &self.save].into_iter().flatten()
    }
}
