//! One set of checks for everything that claims to be dropout.

use std::sync::atomic::{AtomicUsize, Ordering};

use tch::{Kind, Tensor};
use tch_dropout::NoiseShape;

use crate::common::float;

/// All checks of a run together raise a false alarm at most once in a million runs.
const FALSE_ALARMS: f64 = 1e-6;

/// Among how many checks that is shared out. Twice as many as are made, which leaves room for what the
/// normal distribution understates so far out in the tails of a few million draws.
const CHECKS: usize = 23_000;

/// The checks so far, for the limit above to hold.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// What an examination finds wrong, a line each.
pub type Findings = Vec<String>;

/// Forwards of each subject, with 2²⁰ draws each. With one more, tensors would reach the 32 MiB from which on
/// glibc has each mapped anew, and half of the time would go into page faults.
const FORWARDS: i64 = 7;

/// Elements that are decided together, and the words that hold their bits: places that a fault might repeat
/// at.
pub const TILE: i64 = 2048;
const WORDS: i64 = 64;

/// What a layer claims of its output for an input of ones.
pub struct Claim {
    pub p: f64,
    /// A kept element.
    pub kept: f64,
    pub shape: NoiseShape,
    /// The input's, with 2²⁰ draws in the noise shape.
    pub size: Vec<i64>,
}

impl Claim {
    /// Puts the claim to the test.
    pub fn examine(&self, forward: impl Fn(&Tensor) -> Tensor) -> Findings {
        self.examine_over(FORWARDS, forward)
    }

    /// The same with another number of forwards, for an input of another size.
    pub fn examine_over(&self, forwards: i64, forward: impl Fn(&Tensor) -> Tensor) -> Findings {
        let ones = Tensor::ones(&self.size, float());
        let mut draws = Vec::new();
        for _ in 0..forwards {
            let output = forward(&ones);
            let kept = (&output - self.kept).abs_().le(1e-6 * self.kept);
            if !bool::try_from(output.eq(0).logical_or(&kept).all()).unwrap() {
                return vec!["values other than 0 and the kept one".to_owned()];
            }
            let one_of_each = self.one_of_each_group(&output);
            if one_of_each.expand_as(&output) != output {
                return vec!["groups that are not equal throughout".to_owned()];
            }
            draws.push(one_of_each.copy()); // Lets go of the others' memory.
        }
        let draws = Tensor::stack(&draws, 0);

        let deviation = (self.p * (1.0 - self.p)).sqrt();
        let deviations = draws / (self.kept * deviation) - (1.0 - self.p) / deviation;
        let rate = sum(&deviations) / (deviations.numel() as f64).sqrt();
        let memory = deviations.contiguous().flatten(0, -1);
        let mut deviates = vec![
            ("keep rate".to_owned(), rate),
            ("spread of the rate over forwards".to_owned(), spread(&deviations)),
            ("rate by place in a tile".to_owned(), by_place(&memory)),
            ("mean".to_owned(), self.mean(forward)),
        ];
        for lag in [1, WORDS] {
            let name = format!("neighbours by place in a tile, lag {lag}");
            deviates.push((name, by_place(&products(&memory, lag))));
        }
        deviates.extend(correlations(&deviations));
        deviates.into_iter().filter_map(|(what, z)| finding(&what, z)).collect()
    }

    /// An output, narrowed to the first of those elements that share a draw.
    fn one_of_each_group(&self, output: &Tensor) -> Tensor {
        let noise = self.shape.resolve(&self.size).unwrap();
        (0..)
            .zip(noise)
            .fold(output.shallow_clone(), |draws, (dimension, n)| draws.narrow(dimension, 0, n))
    }

    /// The output's mean for an input that is not constant, against the input's times the expected mask.
    fn mean(&self, forward: impl Fn(&Tensor) -> Tensor) -> f64 {
        let x = Tensor::rand(&self.size, float()) + 0.5;
        let noise = self.shape.resolve(&self.size).unwrap();
        let groups = x.to_kind(Kind::Double).sum_to_size(noise);
        let mean = self.kept * (1.0 - self.p);
        let variance = self.kept * self.kept * self.p * (1.0 - self.p);
        (sum(&forward(&x)) - mean * sum(&x)) / (variance * sum(&groups.square())).sqrt()
    }
}

/// Of the draws with those of earlier forwards, and with their neighbours along each dimension and in
/// memory: each a normal deviate.
///
/// All are taken over the whole memory: what is `lag` apart along a dimension is `lag` of its strides
/// apart there, and the pairs that reach over its end are independent as well.
pub fn correlations(deviations: &Tensor) -> Vec<(String, f64)> {
    let memory = deviations.contiguous().flatten(0, -1);
    let mut all = Vec::new();
    let mut correlate = |place: &str, stride: i64, lag: i64| {
        let n = memory.numel() as i64 - stride * lag;
        let product = memory.narrow(0, 0, n).dot(&memory.narrow(0, stride * lag, n));
        let deviate = product.double_value(&[]) / (n as f64).sqrt();
        all.push((format!("correlation {place}, lag {lag}"), deviate));
    };
    let mut stride = memory.numel() as i64;
    for (dimension, n) in deviations.size().into_iter().enumerate() {
        stride /= n;
        let place = match dimension {
            0 => "over forwards".to_owned(),
            _ => format!("over dimension {}", dimension - 1),
        };
        (1..n.min(9)).for_each(|lag| correlate(&place, stride, lag));
    }
    for lag in [1, 16, WORDS, 128, TILE - 1, TILE, TILE + 1, 2 * TILE] {
        correlate("in memory", 1, lag);
    }
    all
}

/// Of each number with that `lag` places further on, round at the end.
pub fn products(memory: &Tensor, lag: i64) -> Tensor {
    memory.roll([-lag], [0]).g_mul_(memory)
}

/// Whether the forwards' rates are as far from each other as chance has it. They would not be if each dropped
/// the same number.
fn spread(deviations: &Tensor) -> f64 {
    let forwards = deviations.flatten(1, -1);
    let totals = forwards.sum_dim_intlist([1].as_slice(), false, Kind::Double);
    let (k, n) = forwards.size2().unwrap();
    chi_square(sum(&totals.square()) / n as f64, k as f64)
}

/// Whether numbers are larger at some places of a tile than at others.
pub fn by_place(memory: &Tensor) -> f64 {
    let tiles = memory.reshape([-1, TILE]);
    let totals = tiles.sum_dim_intlist([0].as_slice(), false, Kind::Double);
    chi_square(sum(&totals.square()) / tiles.size()[0] as f64, TILE as f64)
}

/// A chi-square of `k` degrees of freedom, made a normal deviate (Wilson and Hilferty 1931).
pub fn chi_square(sum: f64, k: f64) -> f64 {
    let spread = 2.0 / (9.0 * k);
    ((sum / k).cbrt() - (1.0 - spread)) / spread.sqrt()
}

pub fn sum(t: &Tensor) -> f64 {
    t.sum(Kind::Double).double_value(&[])
}

/// A finding, if chance would not give this normal deviate.
pub fn finding(what: &str, deviate: f64) -> Option<String> {
    assert!(MADE.fetch_add(1, Ordering::Relaxed) < CHECKS, "more checks than CHECKS allows for");
    let tail = FALSE_ALARMS / CHECKS as f64 / 2.0;
    let limit = -Tensor::from(tail).special_ndtri().double_value(&[]);
    let by_chance = deviate.abs() < limit; // A NaN is a finding.
    (!by_chance).then(|| format!("{what}: {deviate:.1} standard deviations, {limit:.1} at most"))
}
