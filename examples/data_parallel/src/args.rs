//! The command line.

use std::path::PathBuf;

use clap::Parser;
use mnist_experiment::data::DEFAULT_DIRECTORY;
use mnist_experiment::values::{learning_rate, probability, whole};
use serde::Serialize;

/// Trains an MNIST model on all ranks that mpirun starts
#[derive(Parser, Debug)]
#[command(name = "data_parallel", max_term_width = 100, allow_negative_numbers = true)]
pub struct Args {
    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Train on built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    #[command(flatten)]
    pub config: Config,

    /// Passes over the training set
    #[arg(long, default_value_t = 2, value_parser = whole(1..=i64::MAX))]
    pub epochs: i64,

    /// libtorch's threads on each rank
    #[arg(long, default_value_t = 1, value_parser = whole(1..=1024))]
    pub threads: i64,

    /// Where the first rank keeps a checkpoint
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,

    /// Steps from one checkpoint to the next; there is always one at the end
    #[arg(long, value_name = "STEPS", default_value_t = 500, requires = "checkpoint", value_parser = whole(1..=i64::MAX))]
    pub checkpoint_every: i64,

    /// Go on from the checkpoint
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
}

/// What determines each step. A run goes on only from a checkpoint with the same.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Config {
    /// The probability of dropping
    #[arg(long, default_value_t = 0.5, value_parser = probability)]
    pub p: f64,

    /// Images per step, on all ranks together
    #[arg(long, default_value_t = 64, value_parser = whole(1..=i64::MAX))]
    pub batch_size: i64,

    /// Adam's learning rate
    #[arg(long, default_value_t = 1e-3, value_parser = learning_rate)]
    pub lr: f64,

    /// Decides the first weights, the order of the images and all masks
    #[arg(long, default_value_t = 0, value_parser = whole(i64::MIN..=i64::MAX))]
    pub seed: i64,
}
