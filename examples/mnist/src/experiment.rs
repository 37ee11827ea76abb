//! The experiment: trains each layer and compares them all, or loads a model and evaluates it.

use std::path::Path;

use anyhow::{Error, Result, anyhow, ensure};
use tch::Device;
use tch::nn::VarStore;

use crate::args::Args;
use crate::console::{note, print};
use crate::data::{self, Dataset};
use crate::layer::Layer;
use crate::model::Model;
use crate::report::Report;
use crate::{checkpoint, output, plot, train};

pub fn run(args: &Args) -> Result<()> {
    match &args.load {
        Some(file) => evaluate(args, file),
        None => compare(args),
    }
}

/// Trains all layers. If one output fails, the others are still written; errors are reported at the end.
fn compare(args: &Args) -> Result<()> {
    let device = args.device.resolve()?;
    args.outputs().try_for_each(|file| output::check_writable(file))?;
    let dataset = load_data(args, device)?;
    let mut report = Report::new(&args.config, &dataset, device);
    note(report.heading());
    let mut unwritten = Vec::new();
    // The layers take turns, so that a machine that is busy for a while slows them all.
    for run in 0..args.config.runs {
        for &layer in &args.layers {
            unwritten.iter().for_each(|error| note(format_args!("NOTE: {error:#}; trying again")));
            let with_curve = args.plot.is_some();
            let trained = train::train(&args.config, layer, run, (&dataset, device), with_curve);
            let (run, vs) = trained?;
            report.add(layer, run);
            unwritten = write_files(args, &report, &vs);
        }
    }
    let errors = print(report.table()).err().into_iter().chain(unwritten);
    all_of(errors.chain(report.divergence().map(Error::msg)))
}

/// Writes all results so far; returns an error for each file that it could not write.
fn write_files(args: &Args, report: &Report, vs: &VarStore) -> Vec<Error> {
    let json = args.json.as_ref().map(|file| report.write_json(file));
    let (title, series) = (report.title(), report.series());
    let draw = |file| plot::write(file, &title, &series, report.is_trial);
    let plot = args.plot.as_ref().map(|file| draw(file));
    let save = args.save.as_ref().map(|file| checkpoint::save(file, args.config.model, vs));
    [json, plot, save].into_iter().flatten().filter_map(Result::err).collect()
}

/// Joins several errors into one.
fn all_of(errors: impl Iterator<Item = Error>) -> Result<()> {
    let texts: Vec<_> = errors.map(|error| format!("{error:#}")).collect();
    if texts.is_empty() { Ok(()) } else { Err(anyhow!(texts.join("; "))) }
}

fn evaluate(args: &Args, file: &Path) -> Result<()> {
    let device = args.device.resolve()?;
    let vs = VarStore::new(device);
    let model = args.config.model;
    // Evaluation drops nothing, so any layer's model will do.
    let network = Model::new(&vs.root(), model, Layer::None, args.config.p, false)?;
    checkpoint::load(file, model, &vs)?;
    let dataset = load_data(args, device)?;
    let confusion = train::evaluate(&network, &dataset.test)?.confusion;
    print(format_args!(
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
    if let Some(limit) = args.config.train_limit {
        let images = dataset.train.items();
        ensure!(limit <= images, "--train-limit {limit} is more than the {images} training images");
        dataset.train = dataset.train.first(limit);
    }
    Ok(dataset)
}
