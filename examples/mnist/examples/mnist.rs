//! The article's experiment: a model, trained once per dropout layer, on MNIST.
//!
//!     cargo run --release --example mnist -- --help

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use tch::{Device, nn::VarStore};

use mnist_experiment::args::Args;
use mnist_experiment::data::{self, Dataset};
use mnist_experiment::layer::Layer;
use mnist_experiment::model::Model;
use mnist_experiment::report::Report;
use mnist_experiment::{checkpoint, output, plot, train};

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let done = match &args.load {
        Some(file) => evaluate(&args, file),
        None => train(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn train(args: &Args) -> Result<()> {
    let device = args.device.resolve()?;
    for file in args.outputs() {
        output::check_writable(file)?;
    }
    let dataset = load_data(args, device)?;
    let mut report = Report::new(args, &dataset, device);
    eprintln!("{}", report.heading());
    for &layer in &args.layers {
        for run in 0..args.runs {
            report.add(layer, train::train(args, &dataset, device, layer, run)?);
            if let Some(file) = &args.json {
                report.write_json(file)?;
            }
            if let Some(file) = &args.plot {
                plot::write(file, &report.title(), &report.series())?;
            }
        }
    }
    output::print(&report.table())
}

fn evaluate(args: &Args, file: &Path) -> Result<()> {
    let device = args.device.resolve()?;
    let vs = VarStore::new(device);
    // Evaluation drops nothing, so any layer's model will do.
    let model = Model::new(&vs.root(), args.model, Layer::None, args.p, false)?;
    checkpoint::load(file, args.model, &vs)?;
    let dataset = load_data(args, device)?;
    let confusion = train::evaluate(&model, &dataset.test)?;
    output::print(&format!(
        "{}: macro F1 {:.4}, accuracy {:.4} on the {} test images of {}",
        file.display(),
        confusion.macro_f1(),
        confusion.accuracy(),
        dataset.test.items(),
        dataset.name
    ))
}

fn load_data(args: &Args, device: Device) -> Result<Dataset> {
    let mut dataset = if args.synthetic {
        data::synthetic(device)?
    } else {
        data::load(args.data_dir.as_deref(), device)?
    };
    if let Some(limit) = args.train_limit {
        let images = dataset.train.items();
        ensure!(limit <= images, "--train-limit {limit} is more than the {images} training images");
        dataset.train = dataset.train.first(limit);
    }
    Ok(dataset)
}
