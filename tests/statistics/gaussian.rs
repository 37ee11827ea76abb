//! The normal numbers that Gaussian dropout multiplies by.

use std::f64::consts::{SQRT_2, TAU};

use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{GaussianDropout, NoiseShape};

use crate::common::float;
use crate::deviates::{count, distance_from_uniform, mean};
use crate::examination::{Findings, by_place, correlations, finding, products, sum};
use crate::seeded;
use crate::trial::{Forward, assert_verdicts, mutant, once, unscaled};

const FORWARDS: i64 = 8;

/// Elements, with 2¹⁷ draws in each forward.
const SIZE: [i64; 3] = [32, 64, 64];

/// The coordinates of a pair of normal numbers are this far apart.
const PAIR: i64 = 64;

/// E z², E z⁴, ..., E z¹² of a standard normal number.
const EVEN_MOMENTS: [f64; 6] = [1.0, 3.0, 15.0, 105.0, 945.0, 10395.0];

/// What the layer claims: `x` times numbers of mean 1 and variance `p / (1 - p)`.
struct Normal {
    p: f64,
    shape: NoiseShape,
    size: Vec<i64>,
}

impl Normal {
    fn examine(&self, forward: &Forward) -> Findings {
        let deviation = (self.p / (1.0 - self.p)).sqrt();
        let ones = Tensor::ones(&self.size, float());
        let outputs: Vec<Tensor> = (0..FORWARDS).map(|_| forward(&ones)).collect();
        let outputs = Tensor::stack(&outputs, 0);
        let noise = self.shape.resolve(&self.size).unwrap();
        let one_of_each = (1..)
            .zip(noise)
            .fold(outputs.shallow_clone(), |draws, (dim, n)| draws.narrow(dim, 0, n));
        if one_of_each.expand_as(&outputs) != outputs {
            return vec!["groups that are not equal throughout".to_owned()];
        }
        let z = (one_of_each.to_kind(Kind::Double) - 1.0) / deviation;

        let mut deviates = moments(&z);
        deviates.extend(distribution(&z));
        deviates.extend(dependence(&z));
        deviates.push(("an input that is not constant".to_owned(), self.of_any_input(forward)));
        deviates.into_iter().filter_map(|(what, z)| finding(&what, z)).collect()
    }

    /// What is added to an input that is not constant, against its variance.
    fn of_any_input(&self, forward: &Forward) -> f64 {
        let x = Tensor::rand(&self.size, float()) + 0.5;
        let noise = self.shape.resolve(&self.size).unwrap();
        let added = (forward(&x) - &x).to_kind(Kind::Double).sum_to_size(&noise);
        let variance =
            x.to_kind(Kind::Double).sum_to_size(&noise).square() * (self.p / (1.0 - self.p));
        mean(&(added.square() / variance), 1.0)
    }
}

/// The first powers' means, against a normal number's: 0, 1, 0, 3, and 15 for the sixth.
fn moments(z: &Tensor) -> Vec<(String, f64)> {
    let n = z.numel() as f64;
    let deviate = |k: i64| {
        let moment = if k % 2 == 0 { EVEN_MOMENTS[k as usize / 2 - 1] } else { 0.0 };
        let variance = EVEN_MOMENTS[k as usize - 1] - moment * moment;
        let found = sum(&z.pow_tensor_scalar(k)) / n;
        (format!("moment {k}"), (found - moment) / (variance / n).sqrt())
    };
    [1, 2, 3, 4, 6].into_iter().map(deviate).collect()
}

/// Kolmogorov and Smirnov's test, and in more detail around zero and in the tails.
fn distribution(z: &Tensor) -> Vec<(String, f64)> {
    let probability = |z: f64| Tensor::from(z / SQRT_2).erfc().double_value(&[]);
    let beyond = |limit: f64| {
        (format!("how many are beyond {limit}"), count(&z.abs().gt(limit), probability(limit)))
    };
    let mut all: Vec<_> = [1.0, 2.0, 3.0, 4.0].into_iter().map(beyond).collect();
    let near = count(&z.abs().lt(1e-3), 1.0 - probability(1e-3));
    all.push(("how many are near zero".to_owned(), near));
    let uniform = (z / -SQRT_2).erfc() / 2.0;
    all.push(("distribution".to_owned(), distance_from_uniform(&uniform)));
    all
}

/// Among numbers, among their squares, and of numbers with squares.
fn dependence(z: &Tensor) -> Vec<(String, f64)> {
    let squares = (z.square() - 1.0) / SQRT_2;
    let mut all =
        vec![("mean by place in a tile".to_owned(), by_place(&z.contiguous().flatten(0, -1)))];
    for (of, numbers) in [("numbers", z), ("squares", &squares)] {
        let named = |(what, deviate)| (format!("{of}' {what}"), deviate);
        all.extend(correlations(numbers).into_iter().map(named));
    }
    let [z, squares] = [z, &squares].map(|numbers| numbers.contiguous().flatten(0, -1));
    for lag in [1, PAIR] {
        let of_pairs = by_place(&products(&z, lag));
        all.push((format!("neighbours by place in a tile, lag {lag}"), of_pairs));
        for lag in [lag, -lag] {
            let mixed = sum(&(&z * squares.roll([lag], [0]))) / (z.numel() as f64).sqrt();
            all.push((format!("numbers with squares, lag {lag}"), mixed));
        }
    }
    all
}

fn claim(p: f64, shape: NoiseShape, size: &[i64]) -> Normal {
    Normal { p, shape, size: size.to_vec() }
}

#[test]
fn gaussian_dropout_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for (p, shape, size) in [
        (0.01, NoiseShape::Elements, &SIZE[..]),
        (0.5, NoiseShape::Elements, &[1 << 19]),
        (0.9, NoiseShape::Elements, &SIZE),
        (0.3, NoiseShape::Channels, &[256, 512, 2]),
        (0.3, NoiseShape::Columns, &[2, 1 << 17]),
    ] {
        let new = || GaussianDropout::elements(p).unwrap().with_noise_shape(shape.clone());
        let layers = [new(), new().with_seed(seed as u64)].map(|layer| {
            let forward: Forward = Box::new(move |x| layer.forward_t(x, true));
            (format!("GaussianDropout(p={p:?}, {shape})"), forward)
        });
        let claim = claim(p, shape.clone(), size);
        assert_verdicts(|forward| claim.examine(forward), layers, []);
    }
}

fn normal(x: &Tensor) -> Tensor {
    x.randn_like()
}

/// Box and Muller's pairs, with the coordinates `PAIR` apart, from their radii and angles.
fn pairs(x: &Tensor, coordinates: impl Fn(&Tensor, &Tensor) -> [Tensor; 2]) -> Tensor {
    let size = [x.numel() as i64 / 2 / PAIR, 1, PAIR];
    let [first, second] = [0, 1].map(|_| Tensor::rand(size, float()));
    let radius = (first.negative().log1p() * -2.0).sqrt();
    Tensor::cat(&coordinates(&radius, &(second * TAU)), 1).reshape_as(x)
}

#[test]
fn mutants_of_gaussian_dropout_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    let right = (P / (1.0 - P)).sqrt();
    // From standard numbers of whatever distribution.
    let of = move |z: fn(&Tensor) -> Tensor| move |x: &Tensor| x * (z(x) * right + 1.0);
    let scaled = |deviation: f64| move |x: &Tensor| x * (normal(x) * deviation + 1.0);
    let shared = |dim: i64| move |x: &Tensor| x * (normal(&x.narrow(dim, 0, 1)) * right + 1.0);
    let mutants = [
        mutant("variance p", "moment 2", scaled(P.sqrt())),
        mutant("variance p (1 - p)", "moment 2", scaled((P * (1.0 - P)).sqrt())),
        mutant("variance (1 - p) / p", "moment 2", scaled(1.0 / right)),
        mutant("deviation p / (1 - p)", "moment 2", scaled(right * right)),
        mutant("deviation half a percent off", "moment 2", scaled(right * 1.005)),
        mutant("mean 0", "moment 1", move |x| x * normal(x) * right),
        mutant("added", "an input", move |x| x + normal(x) * right),
        mutant("inverted dropout, which has the same mean and variance", "moment 3", |x| {
            unscaled(P, NoiseShape::Elements)(x) / (1.0 - P)
        }),
        mutant("uniform numbers", "moment 4", of(|x| (x.rand_like() - 0.5) * 12f64.sqrt())),
        mutant(
            "sums of twelve uniform numbers",
            "moment 4",
            of(|x| (0..12).fold(x.full_like(-6.0), |sum, _| sum + x.rand_like())),
        ),
        mutant("normal numbers on a logarithmic scale", "moment 3", move |x| {
            let variance = right.powi(2).ln_1p();
            x * (normal(x) * variance.sqrt() - variance / 2.0).exp()
        }),
        mutant(
            "tails cut off at 3",
            "how many are beyond 3",
            of(|x| normal(x).clamp(-2.999, 2.999)),
        ),
        mutant(
            "radii of 8 bits",
            "how many are beyond 4",
            of(|x| {
                pairs(x, |radius, angle| {
                    let uniform = ((radius.square() / -2.0).exp() * 256.0).ceil() / 256.0;
                    let radius = (uniform.log() * -2.0).sqrt();
                    [&radius * angle.cos(), &radius * angle.sin()]
                })
            }),
        ),
        mutant(
            "a pair with the same coordinate twice",
            "numbers' correlation in memory, lag 64",
            of(|x| pairs(x, |radius, angle| [0, 1].map(|_| radius * angle.cos()))),
        ),
        mutant(
            "a pair of one number and its negative",
            "numbers' correlation in memory, lag 64",
            of(|x| pairs(x, |radius, angle| [radius * angle.cos(), -(radius * angle.cos())])),
        ),
        mutant(
            "a pair with the angle twice as large",
            "numbers with squares",
            of(|x| pairs(x, |radius, angle| [radius * angle.cos(), radius * (angle * 2.0).cos()])),
        ),
        mutant(
            "a pair of one size, with signs of its own",
            "squares' correlation in memory, lag 64",
            of(|x| {
                pairs(x, |radius, angle| {
                    let sign = angle.rand_like().round() * 2.0 - 1.0;
                    let z = radius * angle.cos();
                    [&z * sign, z]
                })
            }),
        ),
        mutant("one draw for the batch", "numbers' correlation over dimension 0", shared(0)),
        mutant("one draw for a column", "numbers' correlation over dimension 1", shared(1)),
        mutant("one draw for a row", "numbers' correlation over dimension 2", shared(2)),
        mutant(
            "one draw for all steps",
            "numbers' correlation over forwards",
            once(of(normal), &SIZE),
        ),
    ];
    let claim = claim(P, NoiseShape::Elements, &SIZE);
    assert_verdicts(|forward| claim.examine(forward), [], mutants);
}
