//! Lines of figures over several runs.

use picture::lines::Line;
use picture::style::Look;

use mnist_experiment::metrics::Summary;

/// The means as a line, with one standard deviation to each side.
pub fn line(
    (name, look): (impl Into<String>, Look),
    x: impl Iterator<Item = f64>,
    figures: &[Summary],
) -> Line {
    let x: Vec<_> = x.take(figures.len()).collect();
    let range = |figure: &Summary| {
        let deviation = figure.std.unwrap_or(0.0);
        figure.mean - deviation..=figure.mean + deviation
    };
    Line {
        name: name.into(),
        look,
        points: x.iter().copied().zip(figures.iter().map(|figure| figure.mean)).collect(),
        band: x.iter().copied().zip(figures.iter().map(range)).collect(),
    }
}
