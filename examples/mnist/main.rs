//! The article's experiment: one model, trained once per dropout layer, on MNIST.
//!
//!     cargo run --release --example mnist -- --help

mod args;
mod data;
mod metrics;
mod model;
mod report;
mod train;

use std::process::ExitCode;

use anyhow::Result;

use args::Args;
use report::Report;

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let device = args.device.resolve()?;
    if let Some(file) = &args.json {
        report::check_writable(file)?;
    }
    let dataset = if args.synthetic {
        data::synthetic(device)?
    } else {
        data::load(args.data_dir.as_deref(), device)?
    };
    let mut report = Report::new(args, &dataset, device);
    eprintln!("{}", report.heading());
    for &layer in &args.layers {
        for run in 0..args.runs {
            report.add(layer, train::train(args, &dataset, device, layer, run)?);
            if let Some(file) = &args.json {
                report.write_json(file)?;
            }
        }
    }
    println!("{}", report.table());
    Ok(())
}
