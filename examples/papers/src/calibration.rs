//! Is a classifier as sure as it should be? Gal and Ghahramani 2016, with the measures of Guo et al. 2017.
//!
//! A 784-512-512-10 network is trained on MNIST without dropout and with. The second predicts as usual, with
//! dropout off, and by Monte Carlo dropout. How well do its probabilities fit (expected calibration error),
//! and how many errors remain if the images that it is least sure of are rejected?

use anyhow::Result;
use picture::lines::{self, frame};
use picture::page::text;
use picture::plane::{Plane, Scale};
use picture::style::{self, Look};
use serde::Serialize;
use tch::nn::{ModuleT, SequentialT, VarStore};
use tch::{Device, Kind, Tensor};
use tch_dropout::MonteCarlo;

use mnist_experiment::console::print;
use mnist_experiment::curves::across;
use mnist_experiment::data::Split;
use mnist_experiment::layer::Layer;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

use crate::chart::line;
use crate::dots::{self, Row};
use crate::network::mlp;
use crate::numbers::{double, numbers};
use crate::options::Options;
use crate::progress::Progress;
use crate::training::Training;

const P: f64 = 0.5;
const BINS: usize = 15;
/// The shares of images that are rejected, in percent.
const REJECTED: [f64; 11] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
const PREDICTORS: [(&str, Look); 3] = [
    ("no dropout", style::NOTHING),
    ("dropout, off", style::ELEMENTS),
    ("Monte Carlo", style::ELEMENTS.dashed()),
];

/// How good one run's probabilities are.
struct Quality {
    calibration_error: f64,
    log_likelihood: f64,
    /// In percent, for each share of rejected images.
    errors: Vec<f64>,
}

#[derive(Serialize)]
struct Predictor {
    name: &'static str,
    #[serde(skip)]
    look: Look,
    /// The expected calibration error, in percent.
    calibration_error: Summary,
    /// The mean over test images.
    log_likelihood: Summary,
    rejected: [f64; REJECTED.len()],
    /// The test error of the images that are kept, in percent.
    errors: Vec<Summary>,
}

pub fn run(options: &Options) -> Result<()> {
    let (units, epochs, passes) = options.full_or_quick((512, 15, 100), (64, 1, 10));
    let data = options.dataset()?;
    let progress = Progress::new(2 * options.runs() * epochs * data.train.items());
    let train = |layer, seed| -> Result<SequentialT> {
        progress.begin(format_args!("dropout {layer:8}, seed {seed}"));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let model = mlp(&vs.root(), &[units; 2], layer, (0.0, P))?;
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        for _ in 0..epochs {
            training.epoch(|images, labels| {
                model.forward_t(images, true).cross_entropy_for_logits(labels)
            });
        }
        progress.end("trained");
        Ok(model)
    };
    let mut runs: [Vec<Quality>; 3] = Default::default();
    for seed in options.seeds() {
        let images = &data.test.images;
        let plain = |model: &SequentialT| {
            let logits = tch::no_grad(|| model.forward_t(images, false));
            double(&logits).softmax(1, None::<Kind>)
        };
        let without = train(Layer::None, seed)?;
        let with = train(Layer::Elements, seed)?;
        let sampled = MonteCarlo::new(passes)?
            .batch_size(1_000)?
            .predict(|x, train| with.forward_t(x, train), images)?;
        let predictions = [plain(&without), plain(&with), sampled.mean];
        for (runs, probabilities) in runs.iter_mut().zip(&predictions) {
            runs.push(quality(probabilities, &data.test)?);
        }
    }
    let results: Vec<_> =
        PREDICTORS.into_iter().zip(&runs).map(|(it, runs)| Predictor::new(it, runs)).collect();
    drop(progress);
    for Predictor { name, calibration_error, log_likelihood, errors, .. } in &results {
        print(format_args!(
            "{name:12}: calibration error {} %, log likelihood {}; {} % wrong, {} % if 1 % is rejected, \
             {} % if 5 %, {} % if 10 %",
            plus_minus(calibration_error, 2),
            plus_minus(log_likelihood, 4),
            plus_minus(&errors[0], 2),
            plus_minus(&errors[1], 2),
            plus_minus(&errors[5], 2),
            plus_minus(&errors[10], 2)
        ))?;
    }
    options.write("calibration", &data.name, &results, &draw(&data.name, options, passes, &results))
}

fn quality(probabilities: &Tensor, test: &Split) -> Result<Quality> {
    let (probabilities, labels) = (double(probabilities), test.labels.to_device(Device::Cpu));
    let (confidence, answer) = probabilities.max_dim(1, false);
    let right = answer.eq_tensor(&labels).to_kind(Kind::Double);
    let (sure, right_answers) = (numbers(&confidence)?, numbers(&right)?);
    let likelihood = probabilities.gather(1, &labels.unsqueeze(1), false);
    let order: Vec<i64> = Vec::try_from(
        probabilities.special_entr().sum_dim_intlist(1, false, None::<Kind>).argsort(0, false),
    )?;
    let error = |rejected: f64| {
        let kept = (order.len() as f64 * (1.0 - rejected / 100.0)).round() as usize;
        let right: f64 = order[..kept].iter().map(|&image| right_answers[image as usize]).sum();
        100.0 * (1.0 - right / kept as f64)
    };
    Ok(Quality {
        calibration_error: 100.0 * expected_calibration_error(&sure, &right_answers),
        log_likelihood: likelihood.clamp_min(1e-30).log().mean(None::<Kind>).double_value(&[]),
        errors: REJECTED.iter().map(|&rejected| error(rejected)).collect(),
    })
}

/// In each bin of confidences, by how much their mean differs from the share of right answers; the mean over
/// all images.
fn expected_calibration_error(confidences: &[f64], right: &[f64]) -> f64 {
    let mut surplus = [0.0; BINS];
    for (&confidence, right) in confidences.iter().zip(right) {
        let bin = (confidence * BINS as f64) as usize;
        surplus[bin.min(BINS - 1)] += confidence - right;
    }
    surplus.iter().map(|surplus| surplus.abs()).sum::<f64>() / confidences.len() as f64
}

impl Predictor {
    fn new((name, look): (&'static str, Look), runs: &[Quality]) -> Predictor {
        let summary = |figure: fn(&Quality) -> f64| Summary::new(runs.iter().map(figure).collect());
        Predictor {
            name,
            look,
            calibration_error: summary(|run| run.calibration_error),
            log_likelihood: summary(|run| run.log_likelihood),
            rejected: REJECTED,
            errors: across(runs.iter().map(|run| &run.errors)),
        }
    }

    fn row(&self) -> Row<'_> {
        let &Predictor { name, look, calibration_error: ref figure, .. } = self;
        Row { name, look, figure, paper: None }
    }
}

/// Left: errors that remain; right: calibration errors.
fn draw(data: &str, options: &Options, passes: i64, results: &[Predictor]) -> String {
    let title = "Which of its answers can a network be trusted with?";
    let description =
        "Left: test error by the share of rejected images. Right: expected calibration error.";
    let mut page = options.page(title, description, 380.0, data);
    let most = results.iter().map(|it| it.errors[0].mean).fold(0.1, f64::max);
    let plane = Plane {
        x: Scale::new(0.0..=10.0, (56.0, 330.0)),
        y: Scale::new(0.0..=most * 1.1, (310.0, 84.0)),
    };
    let line = |it: &Predictor| line((it.name, it.look), REJECTED.into_iter(), &it.errors);
    let heading = format!("errors among the rest, in %; {data}, {}", options.runs_in_words());
    let chart = frame(&plane, &heading, "rejected images in %, the least sure first")
        .add(plane.levels(&plane.y.ticks(6), |error| format!("{error:.1}")))
        .add(plane.labels(&[0.0, 2.0, 4.0, 6.0, 8.0, 10.0], |share| share.to_string()));
    page.add(lines::add(chart, &plane, results.iter().map(line).collect()));

    let rows: Vec<_> = results.iter().map(Predictor::row).collect();
    let scale = dots::scale(&rows, (560.0, 716.0));
    page.add(text("expected calibration error, in %", (452.0, 64.0), ""));
    page.add(dots::names(&rows, (452.0, 112.0)));
    page.add(dots::rows(&rows, &scale, 112.0, 2));
    page.add(text(format!("Monte Carlo: {passes} passes"), (452.0, 250.0), "soft small"));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() {
        let error = |confidences: &[f64], right: &[f64]| {
            (expected_calibration_error(confidences, right) * 1e9).round() / 1e9
        };
        assert_eq!(error(&[1.0, 1.0], &[1.0, 1.0]), 0.0);
        assert_eq!(error(&[1.0, 1.0], &[0.0, 1.0]), 0.5);
        // Within a bin, doubt about a right answer makes up for too much confidence in a wrong one.
        assert_eq!(error(&[0.5, 0.5], &[0.0, 1.0]), 0.0);
        assert_eq!(error(&[0.75, 0.95, 0.95, 0.95], &[1.0, 0.0, 1.0, 1.0]), (0.25 + 0.85) / 4.0);
    }

    #[test]
    fn the_least_sure_are_rejected_first() {
        // The k-th of 100 images is less sure than the one before; only the last 5 are wrong.
        let sure: Vec<f64> = (0..100).map(|image| 0.99 - 0.004 * f64::from(image)).collect();
        let sure = Tensor::from_slice(&sure);
        let probabilities = Tensor::stack(&[&sure, &(1.0 - &sure)], 1);
        let labels: Vec<i64> = (0..100).map(|image| i64::from(image >= 95)).collect();
        let test = Split { images: sure.shallow_clone(), labels: Tensor::from_slice(&labels) };
        let errors = quality(&probabilities, &test).unwrap().errors;
        let expected = [5, 4, 3, 2, 1, 0].map(|wrong| f64::from(wrong) / f64::from(95 + wrong));
        for (error, expected) in errors.iter().zip(expected) {
            assert!((error / 100.0 - expected).abs() < 1e-12, "{errors:?}");
        }
    }
}
