//! What the papers on dropout report, run with this crate:
//!
//!     cargo run --release --example papers -- --help

use std::process::ExitCode;

use clap::Parser;
use mnist_experiment::console;
use papers::args::Args;

fn main() -> ExitCode {
    console::end(Args::parse().run())
}
