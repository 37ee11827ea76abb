//! The article's experiment: a model trained on MNIST, once per dropout layer.
//!
//!     cargo run --release --example mnist -- --help

use std::process::ExitCode;

use mnist_experiment::args::Args;
use mnist_experiment::{console, experiment};

fn main() -> ExitCode {
    console::end(experiment::run(&Args::read()))
}
