//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use clap::error::ErrorKind;
use serde::Serialize;

use crate::data::DEFAULT_DIRECTORY;
use crate::device::Choice;
use crate::layer::Layer;
use crate::model::Architecture;
use crate::numbers::{at_least_one, learning_rate, probability};

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

    /// Train on the first N images only, so that there is something to overfit
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub train_limit: Option<i64>,

    /// What to train: article (784-512-512-10, all linear), mlp (the same with ReLU) or cnn (two
    /// convolutions in the first layer's place, and dropout after them too)
    #[arg(long, default_value = "article")]
    pub model: Architecture,

    /// Which layers to compare, of none, dropout, true_dropout, drop_connect, libtorch, elements and
    /// channels; the last two are true_dropout over other noise shapes, and the same but for cnn
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = Layer::DEFAULT)]
    pub layers: Vec<Layer>,

    /// The probability of dropping
    #[arg(long, default_value_t = 0.5, value_parser = probability)]
    pub p: f64,

    /// Passes over the training set
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub epochs: i64,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub batch_size: i64,

    /// Adam's learning rate
    #[arg(long, default_value_t = 1e-3, value_parser = learning_rate)]
    pub lr: f64,

    /// The first run's seed; the next run has the next one
    #[arg(long, default_value_t = 0)]
    pub seed: i64,

    /// Trainings per layer, each with a seed of its own
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub runs: i64,

    /// Use the forward pass as the article prints it, which returns x where it means output
    #[arg(long)]
    pub as_printed: bool,

    /// Write all figures to a JSON file, brought up to date after each run
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw loss and macro F1 to an SVG file, brought up to date after each run
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    /// Save the trained model as safetensors; takes one layer and one run
    #[arg(long, value_name = "FILE", conflicts_with = "as_printed")]
    pub save: Option<PathBuf>,

    /// Evaluate a model that --save wrote, in place of training one
    #[arg(long, value_name = "FILE", conflicts_with_all = TRAINING)]
    pub load: Option<PathBuf>,
}

/// What says how to train, and so nothing to an evaluation.
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
    /// Reads the command line; on a mistake, prints one line about it.
    pub fn read() -> Result<Args, ExitCode> {
        let error = match Args::try_parse() {
            Ok(args) => match args.check() {
                Ok(()) => return Ok(args),
                Err(error) => format!("error: {error}"),
            },
            Err(help) if help.kind() == ErrorKind::DisplayHelp => {
                print!("{help}");
                return Err(ExitCode::SUCCESS);
            }
            Err(error) => first_paragraph(&error.to_string()),
        };
        eprintln!("{error} (--help tells more)");
        Err(ExitCode::from(2))
    }

    fn check(&self) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            ensure!(!self.layers[..i].contains(layer), "--layers names {layer} twice");
        }
        ensure!(self.seed.checked_add(self.runs).is_some(), "--seed {} is too large", self.seed);
        let (layers, runs, model) = (self.layers.len(), self.runs, self.model);
        ensure!(
            self.save.is_none() || (layers, runs) == (1, 1),
            "--save takes one layer and one run, got {layers} of --layers and {runs} of --runs"
        );
        ensure!(
            !self.as_printed || model == Architecture::Article,
            "--as-printed is a slip of --model article, got --model {model}"
        );
        let files: Vec<_> = self.outputs().collect();
        for (i, file) in files.iter().enumerate() {
            ensure!(!files[..i].contains(file), "{} is named for two outputs", file.display());
        }
        Ok(())
    }

    /// The files that will be written.
    pub fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.plot, &self.save].into_iter().flatten()
    }

    /// What decides the figures, for the JSON file.
    pub fn config(&self) -> Config {
        Config {
            model: self.model,
            train_limit: self.train_limit,
            p: self.p,
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            seed: self.seed,
            runs: self.runs,
            as_printed: self.as_printed,
        }
    }
}

#[derive(Serialize)]
pub struct Config {
    pub model: Architecture,
    train_limit: Option<i64>,
    pub p: f64,
    epochs: i64,
    batch_size: i64,
    lr: f64,
    seed: i64,
    pub runs: i64,
    as_printed: bool,
}

/// A mistake's first paragraph says it all; where it has several lines, they are a list.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}
