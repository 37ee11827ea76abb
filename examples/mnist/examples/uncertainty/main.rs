//! A digit is rotated, and the network becomes unsure: a picture of Monte Carlo dropout on MNIST.
//!
//!     cargo run --release --example uncertainty -- --out uncertainty.svg

mod args;
mod chart;
mod curves;
mod digit;
mod model;
mod timing;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use mnist_experiment::{console, data, output};
use picture::page::TRIAL;
use tch::nn::ModuleT;
use tch_dropout::MonteCarlo;

use args::Args;
use curves::Curves;

/// The angles at which the model predicts the digit, in degrees.
const STEP: i64 = 5;
const END: i64 = 180;
/// Passes folded into one batch, as the rotated digits are few rows.
const FOLD: i64 = 10;

fn main() -> ExitCode {
    console::end(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let device = args.device.resolve()?;
    args.out.as_deref().map_or(Ok(()), output::check_writable)?;
    let dataset = if args.synthetic {
        data::synthetic(device)?
    } else {
        data::load(args.data_dir.as_deref(), device)?
    };
    console::note(format_args!("training on {}", dataset.name));
    let model = model::train(&dataset.train, args.batch_size, args.seed)?;
    let forward = |x: &tch::Tensor, train| model.forward_t(x, train);
    if args.time {
        return timing::report(forward, &dataset.test.images, args.passes);
    }

    let angles: Vec<f64> = (0..=END).step_by(STEP as usize).map(|angle| angle as f64).collect();
    let turned = digit::turn(&digit::find(&dataset.test, args.digit)?, &angles);
    let passes = MonteCarlo::new(args.passes)?.fold(FOLD.min(args.passes))?;
    let curves = Curves::new(&angles, &passes.predict(forward, &turned)?)?;
    console::print(curves.in_words(args.digit))?;

    let is_trial = dataset.name == data::BUILT_IN;
    if is_trial {
        console::print(format_args!("This is {TRIAL}."))?;
    }
    let Some(file) = &args.out else { return Ok(()) };
    let svg = chart::draw(&curves, &turned, args.digit, is_trial)?;
    output::write(file, svg.as_bytes())?;
    console::print(format_args!("wrote {}", file.display()))
}
