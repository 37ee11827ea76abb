//! Does a network know where it has seen no data? Gal and Ghahramani 2016, Figure 2.
//!
//! The paper fits networks of 5 layers and 1024 units, with dropout of 0.1 or 0.2, to the carbon dioxide at
//! Mauna Loa, and looks beyond the data. Here 4 layers of 256 units fit a function with a gap in its data.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};
use picture::lines::frame;
use picture::page::{tenth, text};
use picture::plane::{Plane, Scale};
use picture::style::ELEMENTS;
use serde::Serialize;
use svg::node::element::{Circle, Group};
use tch::nn::{self, ModuleT, SequentialT, VarStore};
use tch::{Device, Kind, Reduction, Tensor};
use tch_dropout::{MonteCarlo, TrueDropout};

use mnist_experiment::console::print;
use mnist_experiment::data::Split;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

use crate::numbers::numbers;
use crate::options::{Options, thousands};
use crate::progress::Progress;
use crate::training::Training;

const P: f64 = 0.2;
const LAYERS: usize = 4;
const UNITS: i64 = 256;
/// The prior lengthscale.
const LENGTHSCALE: f64 = 1e-2;
const POINTS: i64 = 100;
const NOISE: f64 = 0.1;
/// The model precision, tau: the noise's.
const PRECISION: f64 = 1.0 / (NOISE * NOISE);
const PASSES: i64 = 1_000;
const FOLD: i64 = 20;
const DATA_NAME: &str = "a function with a gap in its data";
/// The data is on both sides of a gap, and the picture goes further.
const DATA: [RangeInclusive<f64>; 2] = [-2.0..=-0.2, 1.0..=2.0];
const GAP: RangeInclusive<f64> = 0.2..=0.6;
const END: f64 = 4.0;

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Units {
    Relu,
    Tanh,
}

/// What a network predicts from one end to the other.
#[derive(Serialize)]
struct Curve {
    x: Vec<f64>,
    /// Over the passes.
    mean: Vec<f64>,
    /// Of a prediction: the passes' and the noise's.
    deviation: Vec<f64>,
    /// With dropout off.
    plain: Vec<f64>,
}

#[derive(Serialize)]
struct Network {
    units: Units,
    /// Mean predictive standard deviations: where there is data, in the gap's middle, and at both ends.
    at_data: Summary,
    in_gap: Summary,
    at_ends: Summary,
    /// The first run's.
    curve: Curve,
}

#[derive(Serialize)]
struct Results {
    p: f64,
    lengthscale: f64,
    precision: f64,
    passes: i64,
    networks: Vec<Network>,
    /// The data of the first run.
    data: Vec<(f64, f64)>,
}

pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.batch_size.is_none(),
        "regression takes all points in each step, got --batch-size"
    );
    let device = options.device()?;
    let (steps, passes) = options.full_or_quick((5_000, PASSES), (200, 50));
    let progress = Progress::new(2 * options.runs() * steps * POINTS);
    let network = |units: Units| -> Result<Network> {
        let train = |seed| {
            progress.begin(format_args!("{} units, seed {seed}", units.name()));
            let curve = train((units, seed, device), (steps, passes), &progress)?;
            progress.end(format_args!("deviation {:.2} in the gap", curve.deviation_in(&[GAP])));
            Ok(curve)
        };
        let curves = options.seeds().map(train).collect::<Result<Vec<_>>>()?;
        let deviation = |places: &[RangeInclusive<f64>]| {
            Summary::new(curves.iter().map(|curve| curve.deviation_in(places)).collect())
        };
        Ok(Network {
            units,
            at_data: deviation(&DATA),
            in_gap: deviation(&[GAP]),
            at_ends: deviation(&[-END..=-3.7, 3.7..=END]),
            curve: curves.into_iter().next().expect("there is at least one run"),
        })
    };
    let networks = vec![network(Units::Relu)?, network(Units::Tanh)?];
    drop(progress);
    tch::manual_seed(options.seed);
    let Split { images: x, labels: y } = data(device);
    let data = numbers(&x)?.into_iter().zip(numbers(&y)?).collect();

    for Network { units, at_data, in_gap, at_ends, .. } in &networks {
        print(format_args!(
            "{}: predictive standard deviation {} at the data, {} in the gap, {} at the ends",
            units.name(),
            plus_minus(at_data, 2),
            plus_minus(in_gap, 2),
            plus_minus(at_ends, 2)
        ))?;
    }
    let precision = PRECISION;
    let results = Results { p: P, lengthscale: LENGTHSCALE, precision, passes, networks, data };
    let picture = draw(options, &results);
    options.write("regression", DATA_NAME, &results, &picture)
}

fn function(x: &Tensor) -> Tensor {
    (x * 4.0).sin() * 0.4 + x * 0.8
}

/// Points on both sides of the gap, half of them on each, with noise.
fn data(device: Device) -> Split {
    let options = (Kind::Float, device);
    let side = |place: &RangeInclusive<f64>| {
        Tensor::rand([POINTS / 2, 1], options) * (place.end() - place.start()) + *place.start()
    };
    let x = Tensor::cat(&DATA.each_ref().map(side), 0);
    let y = function(&x) + Tensor::randn([POINTS, 1], options) * NOISE;
    Split { images: x, labels: y }
}

fn train(
    (units, seed, device): (Units, i64, Device),
    (steps, passes): (i64, i64),
    progress: &Progress,
) -> Result<Curve> {
    tch::manual_seed(seed);
    let data = data(device);
    let vs = VarStore::new(device);
    let model = model(&vs.root(), units)?;
    // The paper's relation between precision, lengthscale and weight decay, solved for the last.
    let decay = (1.0 - P) * LENGTHSCALE.powi(2) / (2.0 * POINTS as f64 * PRECISION);
    let mut training = Training::new(&vs, &data, (steps, POINTS), progress)?;
    for _ in 0..steps {
        training.epoch(|x, y| {
            let squares: Tensor =
                vs.trainable_variables().iter().map(|w| w.square().sum(None)).sum();
            model.forward_t(x, true).mse_loss(y, Reduction::Mean) / 2.0 + squares * decay
        });
    }
    let x = Tensor::linspace(-END, END, 161, (Kind::Float, device)).unsqueeze(1);
    let regression =
        MonteCarlo::new(passes)?.fold(FOLD)?.regress(|x, train| model.forward_t(x, train), &x)?;
    let plain = tch::no_grad(|| model.forward_t(&x, false));
    Ok(Curve {
        x: numbers(&x)?,
        mean: numbers(&regression.mean)?,
        deviation: numbers(&(regression.variance + 1.0 / PRECISION).sqrt())?,
        plain: numbers(&plain)?,
    })
}

fn model(vs: &nn::Path, units: Units) -> Result<SequentialT> {
    let mut network = nn::seq_t();
    let mut inputs = 1;
    for i in 0..LAYERS {
        network = network
            .add(nn::linear(vs / i, inputs, UNITS, Default::default()))
            .add_fn(move |x| units.activate(x))
            .add(TrueDropout::elements(P)?);
        inputs = UNITS;
    }
    Ok(network.add(nn::linear(vs / "last", inputs, 1, Default::default())))
}

impl Units {
    fn name(self) -> &'static str {
        match self {
            Units::Relu => "ReLU",
            Units::Tanh => "tanh",
        }
    }

    fn activate(self, x: &Tensor) -> Tensor {
        match self {
            Units::Relu => x.relu(),
            Units::Tanh => x.tanh(),
        }
    }
}

impl Curve {
    /// The mean where x is in one of these places.
    fn deviation_in(&self, places: &[RangeInclusive<f64>]) -> f64 {
        let there = |&(x, _): &(&f64, &f64)| places.iter().any(|place| place.contains(x));
        let chosen: Vec<_> = self.x.iter().zip(&self.deviation).filter(there).collect();
        chosen.iter().map(|&(_, deviation)| deviation).sum::<f64>() / chosen.len() as f64
    }
}

/// A panel for each kind of units.
fn draw(options: &Options, results: &Results) -> String {
    let title = "How unsure is a network where it has seen no data?";
    let description = "Data with a gap, the mean of many passes with dropout, and bands of one and two \
                       standard deviations. Left: ReLU units, right: tanh units.";
    let mut page = options.page(title, description, 400.0, DATA_NAME);
    for (network, across) in results.networks.iter().zip([(56.0, 410.0), (462.0, 816.0)]) {
        let plane =
            Plane { x: Scale::new(-END..=END, across), y: Scale::new(-6.0..=6.0, (316.0, 78.0)) };
        let heading = format!("{} units", network.units.name());
        page.add(frame(&plane, &heading, "x"));
        page.add(panel(&plane, network, &results.data));
    }
    let key = format!(
        "dashed: mean of {} passes with dropout, p = {P}, ± 1 and ± 2 standard deviations; line: dropout off; dots: data",
        thousands(results.passes)
    );
    page.add(text(key, (14.0, 388.0), "small"));
    page.finish()
}

fn panel(plane: &Plane, network: &Network, data: &[(f64, f64)]) -> Group {
    let Curve { x, mean, deviation, plain } = &network.curve;
    let band = |width: f64| {
        let ranges = mean.iter().zip(deviation).map(|(y, d)| y - width * d..=y + width * d);
        plane.band(&x.iter().copied().zip(ranges).collect::<Vec<_>>())
    };
    let line = |y: &[f64]| plane.line(x.iter().copied().zip(y.iter().copied()));
    let lines = Group::new()
        .set("class", ELEMENTS.colour)
        .add(band(2.0))
        .add(band(1.0))
        .add(line(plain))
        .add(line(mean).set("class", ELEMENTS.dashed().line()));
    let mut group =
        Group::new()
            .add(plane.levels(&[-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0], |y| {
                y.to_string().replace('-', "−")
            }))
            .add(plane.labels(&[-4.0, -2.0, 0.0, 2.0, 4.0], |x| x.to_string().replace('-', "−")))
            .add(lines);
    for &(x, y) in data {
        let (x, y) = (tenth(plane.x.at(x)), tenth(plane.y.at(y)));
        group = group.add(Circle::new().set("cx", x).set("cy", y).set("r", 2).set("class", "fill"));
    }
    group
}
