//! How much data does dropout need? Srivastava et al. 2014, Figure 10.
//!
//! The paper trains a 784-1024-1024-2048-10 network on 100 to 50,000 images, with dropout and without. Here
//! the network is 784-512-512-10, unless `--hidden` says otherwise, and Adam takes 30 passes over the images, but at
//! least 4,000 steps (`--least-steps`).

use std::ops::RangeInclusive;

use anyhow::{Result, bail};
use picture::lines::{self, Line, frame};
use picture::page::text;
use picture::plane::{Plane, Scale, power_of_ten};
use picture::style::{self, Look};
use serde::Serialize;
use tch::nn::{ModuleT, VarStore};
use tch::{Kind, Tensor};

use mnist_experiment::console::print;
use mnist_experiment::data::Split;
use mnist_experiment::difference::{Difference, in_words};
use mnist_experiment::layer::Layer;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;
use mnist_experiment::values::whole;

use crate::network::mlp;
use crate::options::{Options, thousands};
use crate::progress::Progress;
use crate::training::{Training, error};

const SIZES: [i64; 6] = [100, 500, 1_000, 5_000, 10_000, 50_000];
const P: f64 = 0.5;
const P_PIXELS: f64 = 0.2;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: Options,

    /// Numbers of training images, separated by commas [default: 100,500,1000,5000,10000,50000, or the first three with
    /// --quick]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = whole(1..=1 << 20))]
    images: Vec<i64>,

    /// Units of each hidden layer; the paper has 1024,1024,2048 [default: 512,512, or 64,64 with --quick]
    #[arg(long, value_name = "UNITS,...", value_delimiter = ',', value_parser = whole(1..=1 << 16))]
    hidden: Vec<i64>,

    /// Steps that a training takes at least: few images are passed over more than 30 times [default: 4000, or 300 with
    /// --quick]
    #[arg(long, value_parser = whole(0..=1 << 30))]
    least_steps: Option<i64>,
}

/// What is found for a number of training images.
#[derive(Serialize)]
struct Size {
    images: i64,
    /// Test errors in percent.
    without_dropout: Summary,
    with_dropout: Summary,
    /// By how many percent the errors change with dropout, between networks that saw the same images.
    change: Summary,
}

pub fn run(args: &Args) -> Result<()> {
    let options = &args.options;
    let given = |list: &[i64], default: &[i64]| {
        if list.is_empty() { default.to_vec() } else { list.to_vec() }
    };
    let hidden = given(&args.hidden, options.full_or_quick(&[512; 2], &[64; 2]));
    let sizes = given(&args.images, options.full_or_quick(&SIZES[..], &SIZES[..3]));
    let least_steps = args.least_steps.unwrap_or(options.full_or_quick(4_000, 300));
    let epochs = options.full_or_quick(30, 1);
    let epochs = |size| epochs.max(least_steps * options.batch_size() / size);
    let data = options.dataset()?;
    let there = data.train.items();
    if let Some(images) = args.images.iter().find(|&&images| images > there) {
        bail!("there are {there} images to train on, fewer than {images}");
    }
    let mut sizes: Vec<_> = sizes.into_iter().filter(|&size| size <= there).collect();
    sizes.sort_unstable();
    let work: i64 = sizes.iter().map(|&size| epochs(size) * size).sum();
    let progress = Progress::new(2 * options.runs() * work);

    let mut results = Vec::new();
    for &size in &sizes {
        let train = |layer, seed| -> Result<f64> {
            progress.begin(format_args!("{size:6} images, dropout {layer:8}, seed {seed}"));
            tch::manual_seed(seed);
            let some = sample(&data.train, size);
            let vs = VarStore::new(data.device());
            let model = mlp(&vs.root(), &hidden, layer, (P_PIXELS, P))?;
            let epochs = epochs(size);
            let mut training =
                Training::new(&vs, &some, (epochs, options.batch_size()), &progress)?;
            for _ in 0..epochs {
                training.epoch(|images, labels| {
                    model.forward_t(images, true).cross_entropy_for_logits(labels)
                });
            }
            let error = error(&model, &data.test)?;
            progress.end(format_args!("{error:.2} % wrong"));
            Ok(error)
        };
        let errors = |layer| -> Result<Vec<f64>> {
            options.seeds().map(|seed| train(layer, seed)).collect()
        };
        let (without, with) = (errors(Layer::None)?, errors(Layer::Elements)?);
        let change = without.iter().zip(&with).map(|(a, b)| 100.0 * (b / a - 1.0)).collect();
        results.push(Size {
            images: size,
            without_dropout: Summary::new(without),
            with_dropout: Summary::new(with),
            change: Summary::new(change),
        });
    }
    for Size { images, without_dropout, with_dropout, change } in &results {
        print(format_args!(
            "{images:6} images: {} % wrong without dropout, {} % with; a change in percent: {}",
            plus_minus(without_dropout, 2),
            plus_minus(with_dropout, 2),
            in_words(Difference::of_pairs(change), 1)
        ))?;
    }
    options.write("data-size", &data.name, &results, &draw(&data.name, options, &results))
}

/// Images by chance; the same ones after the same seed.
fn sample(split: &Split, count: i64) -> Split {
    let options = (Kind::Int64, split.labels.device());
    let chosen = Tensor::randperm(split.items(), options).narrow(0, 0, count);
    Split {
        images: split.images.index_select(0, &chosen),
        labels: split.labels.index_select(0, &chosen),
    }
}

/// Test errors over the number of images, both on logarithmic scales.
fn draw(data: &str, options: &Options, results: &[Size]) -> String {
    let title = "How much data does dropout need?";
    let description = "Test error with and without dropout by the number of training images, and by how \
                       much dropout changes the number of errors.";
    let mut page = options.page(title, description, 420.0, data);
    let errors = |size: &Size| [size.without_dropout.mean, size.with_dropout.mean];
    let (least, most) = results
        .iter()
        .flat_map(errors)
        .fold((f64::MAX, 0.0f64), |(least, most), error| (least.min(error), most.max(error)));
    let x = |images: i64| (images as f64).log10();
    let sizes: Vec<_> = results.iter().map(|size| x(size.images)).collect();
    let plane = Plane {
        x: Scale::new(sizes[0]..=sizes[sizes.len() - 1].max(sizes[0] + 0.1), (56.0, 690.0)),
        y: Scale::new((least * 0.85).log10()..=(most * 1.15).log10(), (310.0, 76.0)),
    };
    let runs = options.runs_in_words();
    let heading =
        format!("test error on {data} in %, log scale: mean ± standard deviation of {runs}");
    let line = |name: &str, look: Look, errors: fn(&Size) -> &Summary| Line {
        name: name.to_owned(),
        look,
        points: results.iter().map(|size| (x(size.images), errors(size).mean.log10())).collect(),
        band: results.iter().map(|size| (x(size.images), band(errors(size)))).collect(),
    };
    let chart = frame(&plane, &heading, "training images, log scale")
        .add(plane.levels(&plane.y.log_ticks(8), power_of_ten))
        .add(plane.labels(&sizes, |images| thousands(10f64.powf(images).round() as i64)));
    page.add(lines::add(
        chart,
        &plane,
        vec![
            line("without dropout", style::NOTHING, |size| &size.without_dropout),
            line("with dropout", style::ELEMENTS, |size| &size.with_dropout),
        ],
    ));
    let below = plane.y.pixels().0 + 76.0;
    page.add(text("change in", (plane.x.pixels().1 + 40.0, below - 8.0), "small"));
    page.add(text("errors", (plane.x.pixels().1 + 40.0, below + 8.0), "small"));
    for size in results {
        let change = format!("{:+.0} %", size.change.mean).replace('-', "−");
        page.add(text(change, (plane.x.at(x(size.images)), below), "middle bold"));
    }
    page.finish()
}

/// One standard deviation to each side, on the logarithmic scale.
fn band(error: &Summary) -> RangeInclusive<f64> {
    let deviation = error.std.unwrap_or(0.0);
    (error.mean - deviation).max(1e-3).log10()..=(error.mean + deviation).log10()
}
