//! Statistics as normal deviates, for examinations of what is not a mask.

use tch::{Kind, Tensor};

use crate::examination::sum;

/// The mean of independent numbers, against what it should be, in standard errors that they show themselves.
pub fn mean(numbers: &Tensor, expected: f64) -> f64 {
    let n = numbers.numel() as f64;
    let found = sum(numbers) / n;
    let variance = sum(&(numbers.to_kind(Kind::Double) - found).square()) / n;
    (found - expected) / (variance / n).sqrt()
}

/// How often `n` independent events of probability `p` came.
pub fn count(events: &Tensor, p: f64) -> f64 {
    let n = events.numel() as f64;
    (sum(events) - n * p) / (n * p * (1.0 - p)).sqrt()
}

/// The largest of many deviates, as one: what is as rare (Bonferroni).
pub fn largest(deviates: &Tensor) -> f64 {
    let largest = deviates.abs().max().to_kind(Kind::Double);
    of_probability((largest / 2f64.sqrt()).erfc() * deviates.numel() as f64)
}

/// Kolmogorov and Smirnov's distance of numbers from the uniform distribution on `[0, 1]`.
pub fn distance_from_uniform(numbers: &Tensor) -> f64 {
    let n = numbers.numel() as i64;
    let (sorted, _) = numbers.flatten(0, -1).sort(0, false);
    let place = (Tensor::arange(n, (Kind::Double, numbers.device())) + 0.5) / n as f64;
    let distance = (sorted - place).abs().max();
    of_probability((distance.square() * (-2.0 * n as f64)).exp() * 2.0)
}

/// The deviate that chance exceeds, on either side, with this probability.
fn of_probability(p: Tensor) -> f64 {
    -(p.clamp_max(1.0) / 2.0).special_ndtri().double_value(&[])
}
