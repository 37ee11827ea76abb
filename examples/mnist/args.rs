//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{ensure, Result};
use clap::error::ErrorKind;
use clap::Parser;
use serde::Serialize;
use tch::Device;
use tch_dropout::Probability;

use crate::data::DEFAULT_DIRECTORY;
use crate::model::Layer;

/// Trains the article's model on MNIST once per dropout layer, and compares them
#[derive(Parser, Debug)]
#[command(name = "mnist", max_term_width = 100)]
pub struct Args {
    /// Where to train: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto")]
    pub device: Choice,

    /// A directory with MNIST's four IDX files, plain or .gz; MNIST is downloaded into it if it has
    /// none
    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Train on built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    /// Which layers to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = Layer::ALL)]
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
}

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
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        eprintln!("{error} (--help tells more)");
        Err(ExitCode::from(2))
    }

    fn check(&self) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            ensure!(!self.layers[..i].contains(layer), "--layers names {layer} twice");
        }
        ensure!(self.seed.checked_add(self.runs).is_some(), "--seed {} is too large", self.seed);
        Ok(())
    }

    /// What decides the figures, for the JSON file.
    pub fn config(&self) -> Config {
        Config {
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
    p: f64,
    epochs: i64,
    batch_size: i64,
    lr: f64,
    seed: i64,
    runs: i64,
    as_printed: bool,
}

fn probability(text: &str) -> Result<f64> {
    Ok(Probability::new(number(text)?)?.get())
}

fn learning_rate(text: &str) -> Result<f64> {
    let rate = number(text)?;
    ensure!(rate.is_finite() && rate > 0.0, "expected a number above 0, got {text}");
    Ok(rate)
}

fn number(text: &str) -> Result<f64> {
    text.parse().map_err(|_| anyhow::anyhow!("expected a number, got '{text}'"))
}

fn at_least_one(text: &str) -> Result<i64> {
    let count = text.parse().map_err(|_| anyhow::anyhow!("expected a whole number, got '{text}'"));
    let count: i64 = count?;
    ensure!(count >= 1, "expected at least 1, got {count}");
    Ok(count)
}

/// A device as it is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    Auto,
    Device(Device),
}

impl std::str::FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let device = match text {
            "auto" => return Ok(Choice::Auto),
            "cpu" => Some(Device::Cpu),
            "cuda" => Some(Device::Cuda(0)),
            "mps" => Some(Device::Mps),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Device::Cuda),
        };
        device.map(Choice::Device).ok_or_else(|| {
            anyhow::anyhow!("unknown device, expected auto, cpu, cuda, cuda:N or mps")
        })
    }
}

impl Choice {
    /// The device, if this libtorch and this machine have it.
    pub fn resolve(self) -> Result<Device> {
        let Choice::Device(device) = self else {
            return Ok(if tch::utils::has_mps() {
                Device::Mps
            } else {
                Device::cuda_if_available()
            });
        };
        match device {
            Device::Cuda(index) => {
                ensure!(
                    tch::utils::has_cudart(),
                    "this libtorch is built without CUDA; `sh scripts/libtorch.sh cuda` gets one with it"
                );
                let count = tch::Cuda::device_count();
                ensure!(count > 0, "libtorch has CUDA, but finds no GPU");
                ensure!(
                    (index as i64) < count,
                    "there is no cuda:{index}: libtorch finds {count} GPU(s)"
                );
            }
            Device::Mps => ensure!(tch::utils::has_mps(), "this libtorch finds no MPS device"),
            _ => {}
        }
        Ok(device)
    }
}
