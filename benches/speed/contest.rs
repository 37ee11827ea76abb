//! The table: one pass, libtorch's dropout, the article's, and ours.

use std::fmt;

use comfy_table::Table;
use serde::{Serialize, Serializer};
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor, no_grad};
use tch_dropout::{NoiseShape, TrueDropout};

use crate::table::{name_of, new_table, right_align};
use crate::timing::{Effort, Times, side_by_side};

#[derive(Clone, Copy)]
pub enum Pass {
    Forward,
    /// Every time includes a dot product. Its gradient is dense, as a model's is.
    ForwardBackward,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pass::Forward => "forward",
            Pass::ForwardBackward => "forward_backward",
        })
    }
}

impl Serialize for Pass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Serialize)]
pub struct Measurement {
    pub shape: Vec<i64>,
    pub kind: String,
    pub pass: Pass,
    pub p: f64,
    pub variant: &'static str,
    pub median_ns: f64,
    /// The middle half of the turns is between these.
    pub quartiles_ns: [f64; 2],
    pub ns_per_element: f64,
    /// libtorch's time divided by this one.
    pub vs_libtorch: f64,
    /// This time divided by that of one pass.
    pub vs_one_pass: f64,
    /// This time divided by that of libtorch's dropout of whole channels.
    pub vs_feature_dropout: f64,
}

impl Measurement {
    pub fn times(&self) -> Times {
        Times { median: self.median_ns, quartiles: self.quartiles_ns }
    }
}

pub type Forward = Box<dyn Fn(&Tensor) -> Tensor>;

/// The baselines.
const ONE_PASS: &str = "one pass";
const LIBTORCH: &str = "Tensor::dropout";
const FEATURES: &str = "Tensor::feature_dropout";

fn variants(p: f64) -> Vec<(&'static str, Forward)> {
    let ours = |shape| TrueDropout::new(p).expect("p is a probability").with_noise_shape(shape);
    let forward = |layer: TrueDropout| -> Forward { Box::new(move |x| layer.forward_t(x, true)) };
    vec![
        (ONE_PASS, Box::new(|x: &Tensor| x * 2.0)),
        (LIBTORCH, Box::new(move |x: &Tensor| x.dropout(p, true))),
        (FEATURES, Box::new(move |x: &Tensor| x.feature_dropout(p, true))),
        ("the article's two passes", Box::new(move |x: &Tensor| two_passes(x, p))),
        ("columns", forward(ours(NoiseShape::Columns))),
        ("columns with a seed", forward(ours(NoiseShape::Columns).with_seed(1))),
        ("channels", forward(ours(NoiseShape::Channels))),
        ("channels with a seed", forward(ours(NoiseShape::Channels).with_seed(1))),
        ("samples", forward(ours(NoiseShape::Samples))),
        ("samples with a seed", forward(ours(NoiseShape::Samples).with_seed(1))),
        ("elements", forward(ours(NoiseShape::Elements))),
        ("elements with a seed", forward(ours(NoiseShape::Elements).with_seed(1))),
    ]
}

/// As the article writes it: multiplies by a mask of columns, and then scales.
fn two_passes(x: &Tensor, p: f64) -> Tensor {
    let mut size = vec![1; x.dim()];
    size[1] = x.size()[1];
    let mask = Tensor::rand(size, (Kind::Float, x.device())).ge(p);
    x * mask / (1.0 - p)
}

pub fn run(
    shape: &[i64],
    kind: Kind,
    pass: Pass,
    p: f64,
    device: Device,
    effort: Effort,
) -> Vec<Measurement> {
    let (names, forwards): (Vec<_>, Vec<_>) = variants(p).into_iter().unzip();
    let times = race(&forwards, shape, kind, pass, device, effort);
    let time_of = |name| {
        let place = names.iter().position(|&other| other == name).expect("a variant's name");
        times[place].median
    };
    let [one_pass, libtorch, features] = [ONE_PASS, LIBTORCH, FEATURES].map(time_of);
    let measurement = |(variant, times): (&'static str, Times)| Measurement {
        shape: shape.to_vec(),
        kind: name_of(kind).to_owned(),
        pass,
        p,
        variant,
        median_ns: times.median,
        quartiles_ns: times.quartiles,
        ns_per_element: times.median / shape.iter().product::<i64>() as f64,
        vs_libtorch: libtorch / times.median,
        vs_one_pass: times.median / one_pass,
        vs_feature_dropout: times.median / features,
    };
    names.iter().copied().zip(times.iter().copied()).map(measurement).collect()
}

/// The times of these forward functions on one input.
pub fn race(
    forwards: &[Forward],
    shape: &[i64],
    kind: Kind,
    pass: Pass,
    device: Device,
    effort: Effort,
) -> Vec<Times> {
    let random = || Tensor::rand(shape, (Kind::Float, device)).to_kind(kind);
    let (x, weights) = (random(), random().flatten(0, -1));
    let x = x.set_requires_grad(matches!(pass, Pass::ForwardBackward));
    let turn = |forward: &Forward| match pass {
        Pass::Forward => drop(no_grad(|| forward(&x))),
        Pass::ForwardBackward => {
            let y = forward(&x).flatten(0, -1);
            // Some layers drop a part of the output's elements altogether.
            let loss = y.dot(&weights.narrow(0, 0, y.size()[0]));
            drop(Tensor::run_backward(&[loss], &[&x], false, false));
        }
    };
    let turns: Vec<_> = forwards.iter().map(|forward| move || turn(forward)).collect();
    let turns: Vec<&dyn Fn()> = turns.iter().map(|turn| turn as &dyn Fn()).collect();
    side_by_side(&turns, device, effort)
}

fn elements(p: f64) -> Forward {
    let layer = TrueDropout::elements(p).expect("p is a probability");
    Box::new(move |x| layer.forward_t(x, true))
}

/// From a thousand elements to a hundred million.
pub fn curve(device: Device, effort: Effort) -> Table {
    let mut table = new_table(&["elements", "one pass", "elements", "ratio"]);
    for exponent in 3..=effort.largest {
        let n = 10i64.pow(exponent);
        let forwards: [Forward; 2] = [Box::new(|x: &Tensor| x * 2.0), elements(0.5)];
        let times = race(&forwards, &[n], Kind::Float, Pass::Forward, device, effort);
        table.add_row([
            n.to_string(),
            times[0].shown(n as f64, 3),
            times[1].shown(n as f64, 3),
            format!("{:.2}", times[1].median / times[0].median),
        ]);
    }
    right_align(&mut table, 0);
    table
}
