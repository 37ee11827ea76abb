//! What do hidden units learn? Srivastava et al. 2014, section 7 and Figures 7 and 8.
//!
//! As in the paper, an autoencoder with one hidden layer of 256 rectified linear units learns to restore the
//! images of MNIST, with dropout of 0.5 on the hidden layer and without.

use anyhow::Result;
use picture::page::{tenth, text};
use picture::plane::{Plane, Scale};
use picture::style;
use serde::Serialize;
use svg::node::element::{Group, Path, Rectangle};
use tch::nn::{self, Init, LinearConfig, Module, ModuleT, VarStore};
use tch::{Kind, Reduction, Tensor};
use tch_dropout::TrueDropout;

use mnist_experiment::console::print;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

use crate::network::PIXELS;
use crate::numbers::{double, numbers};
use crate::options::Options;
use crate::progress::Progress;
use crate::training::Training;

const P: f64 = 0.5;
const UNITS: i64 = 256;
const SIDE: usize = 28;
/// The first units are shown, in rows.
const SHOWN: usize = 18;
const ACROSS: usize = 6;
/// Shades of each sign.
const SHADES: i32 = 4;
/// Bins of activations, the first one for 0.
const BINS: usize = 12;

struct Run {
    /// Of the squared error per pixel of test images.
    reconstruction_error: f64,
    mean_activation: f64,
    inactive: f64,
    /// The weights of the units that are shown.
    features: Vec<Vec<f64>>,
    activations: Vec<f64>,
}

#[derive(Serialize)]
struct Autoencoder {
    p: f64,
    reconstruction_error: Summary,
    /// Over all units and test images.
    mean_activation: Summary,
    /// The share of activations that are 0, in percent.
    inactive: Summary,
    /// The first run's share of activations in each bin: 0, then bins of the same width, the last one open.
    histogram: Vec<f64>,
    bin_width: f64,
    #[serde(skip)]
    features: Vec<Vec<f64>>,
}

pub fn run(options: &Options) -> Result<()> {
    let epochs = options.full_or_quick(20, 1);
    let mut data = options.dataset()?;
    data.train = data.train.first(options.full_or_quick(data.train.items(), 5_000));
    let progress = Progress::new(2 * options.runs() * epochs * data.train.items());
    let train = |p, seed| -> Result<Run> {
        progress.begin(format_args!("p = {p}, seed {seed}"));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let root = vs.root();
        // Weights that begin small show what is learned, and not where they began.
        let config =
            LinearConfig { ws_init: Init::Randn { mean: 0.0, stdev: 0.01 }, ..Default::default() };
        let encoder = nn::linear(&root / "encoder", PIXELS, UNITS, config);
        let dropout = TrueDropout::elements(p)?;
        let decoder = nn::linear(&root / "decoder", UNITS, PIXELS, config);
        let hidden = |images: &Tensor| encoder.forward(images).relu();
        let restore =
            |images: &Tensor, train| decoder.forward(&dropout.forward_t(&hidden(images), train));
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        for _ in 0..epochs {
            training.epoch(|images, _| restore(images, true).mse_loss(images, Reduction::Mean));
        }
        let _no_grad = tch::no_grad_guard();
        let images = &data.test.images;
        let activations = hidden(images);
        let mean = |tensor: Tensor| double(&tensor).mean(None::<Kind>).double_value(&[]);
        let run = Run {
            reconstruction_error: mean((restore(images, false) - images).square()),
            mean_activation: mean(activations.shallow_clone()),
            inactive: 100.0 * mean(activations.eq(0)),
            features: (0..SHOWN as i64)
                .map(|unit| numbers(&encoder.ws.get(unit)))
                .collect::<Result<_>>()?,
            activations: numbers(&activations.narrow(0, 0, 1_000).flatten(0, -1))?,
        };
        progress.end(format_args!("mean activation {:.3}", run.mean_activation));
        Ok(run)
    };
    let runs = |p| options.seeds().map(|seed| train(p, seed)).collect::<Result<Vec<_>>>();
    let (without, with) = (runs(0.0)?, runs(P)?);
    drop(progress);
    // Both histograms have the same bins, which hold all but the greatest activations.
    let mut all: Vec<_> =
        [&without[0], &with[0]].iter().flat_map(|run| &run.activations).copied().collect();
    all.sort_by(f64::total_cmp);
    let width = all[all.len() * 999 / 1_000].max(1e-6) / (BINS - 2) as f64;
    let results = [Autoencoder::new(0.0, without, width), Autoencoder::new(P, with, width)];
    for Autoencoder { p, reconstruction_error, mean_activation, inactive, .. } in &results {
        print(format_args!(
            "p = {p:.1}: squared error {}, mean activation {}, {} % of activations are 0",
            plus_minus(reconstruction_error, 4),
            plus_minus(mean_activation, 3),
            plus_minus(inactive, 1)
        ))?;
    }
    options.write("features", &data.name, &results, &draw(&data.name, options, &results))
}

impl Autoencoder {
    fn new(p: f64, runs: Vec<Run>, bin_width: f64) -> Autoencoder {
        let summary = |figure: fn(&Run) -> f64| Summary::new(runs.iter().map(figure).collect());
        let mut histogram = vec![0.0; BINS];
        let first = &runs[0];
        for activation in &first.activations {
            let bin = (activation / bin_width).ceil() as usize;
            histogram[bin.min(BINS - 1)] += 1.0 / first.activations.len() as f64;
        }
        Autoencoder {
            p,
            reconstruction_error: summary(|run| run.reconstruction_error),
            mean_activation: summary(|run| run.mean_activation),
            inactive: summary(|run| run.inactive),
            histogram,
            bin_width,
            features: first.features.clone(),
        }
    }
}

// In pixels.
const PIXEL: f64 = 2.0;
const APART: f64 = 62.0;

/// On the left without dropout, on the right with it: the weights of some units, and all activations.
fn draw(data: &str, options: &Options, results: &[Autoencoder; 2]) -> String {
    let title = "What do hidden units learn?";
    let description = "Weights of the first hidden units of an autoencoder, and a histogram of its \
                       activations: on the left without dropout, on the right with it.";
    let mut page = options.page(title, description, 480.0, data);
    let key = format!(
        "an autoencoder of {data} with {UNITS} units; weights: 0 grey, negative like the page, positive like the text"
    );
    page.add(text(key, (14.0, 50.0), "soft small"));
    for (autoencoder, left) in results.iter().zip([14.0, 436.0]) {
        let heading = match autoencoder.p {
            0.0 => "without dropout".to_owned(),
            p => format!("with dropout, p = {p}"),
        };
        page.add(text(heading, (left, 80.0), "bold"));
        let weights = autoencoder.features.iter().flatten();
        let greatest = weights.fold(1e-12f64, |most, weight| most.max(weight.abs()));
        for (i, weights) in autoencoder.features.iter().enumerate() {
            let (row, column) = (i / ACROSS, i % ACROSS);
            let place = (left + column as f64 * APART, 92.0 + row as f64 * APART);
            page.add(feature(weights, greatest, place));
        }
        page.add(histogram(autoencoder, left));
    }
    page.finish()
}

/// A unit's weights on grey, from the page's colour for the greatest negative one to the ink's for the greatest
/// positive one of all units that are shown: one path per shade, with a stroke for each run of pixels.
fn feature(weights: &[f64], greatest: f64, (x, y): (f64, f64)) -> Group {
    let shades: Vec<i32> = weights
        .iter()
        .map(|weight| (weight / greatest * f64::from(SHADES)).round() as i32)
        .collect();
    let mut group = Group::new()
        .set("transform", format!("translate({x} {}) scale({PIXEL})", y + PIXEL / 2.0))
        .set("shape-rendering", "crispEdges")
        .add(zero());
    for shade in (-SHADES..=SHADES).filter(|&shade| shade != 0) {
        let mut path = String::new();
        for (row, pixels) in shades.chunks(SIDE).enumerate() {
            let mut column = 0;
            for run in pixels.chunk_by(|a, b| a == b) {
                if run[0] == shade {
                    path += &format!("M{column} {row}h{}", run.len());
                }
                column += run.len();
            }
        }
        if !path.is_empty() {
            let colour = if shade > 0 { "thin ink" } else { "thin page" };
            let opacity = tenth(f64::from(shade.abs()) / f64::from(SHADES));
            let path = Path::new().set("d", path).set("class", colour);
            group = group.add(path.set("stroke-opacity", opacity));
        }
    }
    group
}

/// The ground of a unit's weights.
fn zero() -> Rectangle {
    Rectangle::new()
        .set("y", -0.5)
        .set("width", SIDE)
        .set("height", SIDE)
        .set("class", "fill soft")
        .set("fill-opacity", 0.5)
}

/// Shares on a logarithmic scale, as most activations are 0.
fn histogram(autoencoder: &Autoencoder, left: f64) -> Group {
    let plane = Plane {
        x: Scale::new(0.0..=BINS as f64, (left + 42.0, left + 380.0)),
        y: Scale::new(-4.0..=0.0, (420.0, 316.0)),
    };
    let heading = format!(
        "share of activations, log scale: mean {:.2}, {:.0} % are 0",
        autoencoder.mean_activation.mean, autoencoder.inactive.mean
    );
    let mut group = Group::new()
        .add(text(heading, (left, 300.0), ""))
        .add(plane.levels(&[-4.0, -2.0, 0.0], |share| format!("{} %", 10f64.powf(share + 2.0))));
    let mut bars = String::new();
    for (bin, share) in autoencoder.histogram.iter().enumerate() {
        let bin = bin as f64;
        let (from, to) = (plane.x.at(bin + 0.1), plane.x.at(bin + 0.9));
        let (bottom, top) = (plane.y.pixels().0, plane.y.at(share.max(1e-4).log10()));
        bars += &format!("M{} {bottom}V{}H{}V{bottom}z", tenth(from), tenth(top), tenth(to));
    }
    let look = if autoencoder.p == 0.0 { style::NOTHING } else { style::ELEMENTS };
    group = group.add(Path::new().set("d", bars).set("class", format!("fill {}", look.colour)));
    // The k-th bin begins at k - 1 widths.
    let places = [0.5, 4.0, 7.0, 10.0];
    let label = |place: f64| match place {
        0.5 => "0".to_owned(),
        _ => format!("{:.1}", (place - 1.0) * autoencoder.bin_width),
    };
    group.add(plane.labels(&places, label)).add(text(
        "activation",
        ((plane.x.pixels().0 + plane.x.pixels().1) / 2.0, 460.0),
        "middle soft small",
    ))
}
