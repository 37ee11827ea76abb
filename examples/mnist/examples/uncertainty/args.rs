//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PathBufValueParser, TypedValueParser};

use mnist_experiment::data::DEFAULT_DIRECTORY;
use mnist_experiment::device::Choice;
use mnist_experiment::values::{svg, whole};

/// Trains the MNIST model, rotates a test digit through 180 degrees, and tells or draws how sure the model is
#[derive(Parser, Debug)]
#[command(name = "uncertainty", max_term_width = 100, allow_negative_numbers = true)]
pub struct Args {
    /// Where to train and predict: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto")]
    pub device: Choice,

    /// Draw the picture to an SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = PathBufValueParser::new().try_map(svg))]
    pub out: Option<PathBuf>,

    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Use built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    /// Which digit to rotate: the first of its class among the test images
    #[arg(long, default_value_t = 6, value_parser = whole(0..=9))]
    pub digit: i64,

    /// Images per training step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=i64::MAX))]
    pub batch_size: i64,

    /// Forward passes with dropout
    #[arg(long, default_value_t = 200, value_parser = whole(1..=i64::MAX))]
    pub passes: i64,

    /// The seed of training and of all passes
    #[arg(long, default_value_t = 0, value_parser = whole(i64::MIN..=i64::MAX))]
    pub seed: i64,

    /// Draw nothing: time Monte Carlo dropout and as many plain forward passes
    #[arg(long, conflicts_with = "out")]
    pub time: bool,
}
