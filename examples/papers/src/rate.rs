//! Which p? Srivastava et al. 2014, Figure 9.
//!
//! The paper varies the probability of keeping a unit, which it calls p, in 784-2048-2048-2048-10 networks on
//! MNIST: once with n units per layer whatever p is, and once with so many that as many are kept. Here p is
//! the probability of dropping, the networks are 784-n-n-10, and they see 10,000 images.

use anyhow::Result;
use picture::lines::{self, frame};
use picture::page::text;
use picture::plane::{Plane, Scale};
use picture::style;
use serde::Serialize;
use svg::node::element::Group;
use tch::nn::{ModuleT, VarStore};

use mnist_experiment::console::print;
use mnist_experiment::layer::Layer;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

use crate::chart::line;
use crate::network::mlp;
use crate::options::{Options, thousands};
use crate::progress::Progress;
use crate::training::{Training, error};

const P: [f64; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// What p does to networks of one size, or to networks that keep as many units.
#[derive(Serialize)]
struct Rates {
    /// Units per hidden layer.
    units: Vec<i64>,
    p: Vec<f64>,
    /// In percent, for each p.
    test_errors: Vec<Summary>,
    training_errors: Vec<Summary>,
}

pub fn run(options: &Options) -> Result<()> {
    let (images, epochs) = options.full_or_quick((10_000, 30), (1_000, 2));
    let (units, kept) = options.full_or_quick((512, 128), (64, 16));
    let rates = options.full_or_quick(P.to_vec(), P.iter().copied().step_by(3).collect());
    let mut data = options.dataset()?;
    data.train = data.train.first(images.min(data.train.items()));
    let work = data.train.items() * epochs * options.runs();
    let progress = Progress::new(2 * rates.len() as i64 * work);

    let train = |units, p, seed| -> Result<(f64, f64)> {
        progress.begin(format_args!("{units:4} units, p = {p:.1}, seed {seed}"));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let model = mlp(&vs.root(), &[units; 2], Layer::Elements, (0.0, p))?;
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        for _ in 0..epochs {
            training.epoch(|images, labels| {
                model.forward_t(images, true).cross_entropy_for_logits(labels)
            });
        }
        let errors = (error(&model, &data.test)?, error(&model, &data.train)?);
        progress.end(format_args!("{:.2} % wrong", errors.0));
        Ok(errors)
    };
    let vary = |units: &dyn Fn(f64) -> i64| -> Result<Rates> {
        let units: Vec<_> = rates.iter().map(|&p| units(p)).collect();
        let (mut test_errors, mut training_errors) = (Vec::new(), Vec::new());
        for (&p, &units) in rates.iter().zip(&units) {
            let errors: Vec<_> =
                options.seeds().map(|seed| train(units, p, seed)).collect::<Result<_>>()?;
            let (test, training) = errors.into_iter().unzip();
            test_errors.push(Summary::new(test));
            training_errors.push(Summary::new(training));
        }
        Ok(Rates { units, p: rates.clone(), test_errors, training_errors })
    };
    let results =
        [vary(&|_| units)?, vary(&|p: f64| (f64::from(kept) / (1.0 - p)).round() as i64)?];
    drop(progress);
    for Rates { units, p, test_errors, .. } in &results {
        for ((p, units), error) in p.iter().zip(units).zip(test_errors) {
            print(format_args!("p = {p:.1}, {units:4} units: {} % wrong", plus_minus(error, 2)))?;
        }
    }
    let headings = [format!("n = {units} units per layer"), format!("(1 − p) n = {kept} units")];
    let images = data.train.items();
    let picture = draw((&data.name, images), options, &headings, &results);
    options.write("rate", &data.name, &results, &picture)
}

/// Errors over p: on the left with as many units, on the right with as many kept.
fn draw(
    (data, images): (&str, i64),
    options: &Options,
    headings: &[String; 2],
    results: &[Rates; 2],
) -> String {
    let title = "Which p?";
    let description = "Test error and training error over p. Left: the number of units is the same for all \
                       p. Right: the number of units that are kept is.";
    let mut page = options.page(title, description, 400.0, data);
    let (runs, images) = (options.runs_in_words(), thousands(images));
    let key = format!("error in %, mean ± standard deviation of {runs}; {data}, {images} images");
    page.add(text(key, (14.0, 50.0), "soft small"));
    for ((rates, heading), across) in
        results.iter().zip(headings).zip([(56.0, 330.0), (462.0, 736.0)])
    {
        page.add(panel(rates, heading, across, results));
    }
    page.finish()
}

fn panel(rates: &Rates, heading: &str, across: (f64, f64), all: &[Rates; 2]) -> Group {
    let errors = all.iter().flat_map(|rates| &rates.test_errors);
    let most = errors.map(|error| error.mean + error.std.unwrap_or(0.0)).fold(0.1, f64::max);
    let plane =
        Plane { x: Scale::new(0.0..=0.9, across), y: Scale::new(0.0..=most, (326.0, 104.0)) };
    let chart = frame(&plane, heading, "p, the probability of dropping a unit")
        .add(plane.levels(&plane.y.ticks(6), |error| error.to_string()))
        .add(plane.labels(&[0.0, 0.2, 0.4, 0.6, 0.8], |p| p.to_string()));
    let line = |name, look, errors| line((name, look), rates.p.iter().copied(), errors);
    let lines = vec![
        line("training", style::ELEMENTS.dashed(), &rates.training_errors),
        line("test", style::ELEMENTS, &rates.test_errors),
    ];
    lines::add(chart, &plane, lines)
}
