//! The course of training, per step and per epoch.

use crate::metrics::Summary;

/// The curves of one run.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// After each epoch.
    pub macro_f1: Vec<f64>,
}

/// The runs' values at each index; all runs have the same length.
pub fn across<'a>(runs: impl Iterator<Item = &'a Vec<f64>>) -> Vec<Summary> {
    let runs: Vec<_> = runs.collect();
    let length = runs.first().map_or(0, |run| run.len());
    (0..length).map(|i| Summary::new(runs.iter().map(|run| run[i]).collect())).collect()
}

/// The mean of the `window` values that end at a step, for at most `points` steps; steps count from 1.
pub fn moving_average(values: &[f64], window: usize, points: usize) -> Vec<(f64, f64)> {
    let means = values.windows(window);
    let stride = means.len().div_ceil(points).max(1);
    let mean =
        |(end, values): (usize, &[f64])| (end as f64, values.iter().sum::<f64>() / window as f64);
    (window..).zip(means).step_by(stride).map(mean).collect()
}
