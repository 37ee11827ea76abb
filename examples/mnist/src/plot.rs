//! A plot of the training runs: loss per step on the left, macro F1 per epoch on the right.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Result;
use picture::lines::{self, Line, frame};
use picture::page::Page;
use picture::plane::{Plane, Scale, power_of_ten};
use picture::style::Look;
use svg::node::element::Group;

use crate::curves;
use crate::metrics::Summary;
use crate::output;

/// The data of a layer's lines.
pub struct Series<'a> {
    pub name: String,
    pub look: Look,
    /// For each step.
    pub losses: Vec<f64>,
    /// For each epoch.
    pub macro_f1: &'a [Summary],
}

// In pixels.
const HEIGHT: f64 = 390.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 335.0;
const LOSS: (f64, f64) = (56.0, 300.0);
const MACRO_F1: (f64, f64) = (478.0, 722.0);
/// The most points that a line can show.
const POINTS: usize = 200;
/// So many epochs have a line even if the first ones are below the picture.
const MANY: usize = 12;

/// Draws the series and writes them to an SVG file.
pub fn write(path: &Path, title: &str, series: &[Series], is_trial: bool) -> Result<()> {
    output::write(path, draw(title, series, is_trial).as_bytes())
}

fn draw(title: &str, series: &[Series], is_trial: bool) -> String {
    let description = "Left: training loss per step. Right: macro F1 on the test set per epoch. A line for \
                       each layer.";
    let mut page = Page::titled(title, description, HEIGHT, is_trial);
    page.add(losses(series));
    page.add(macro_f1(series));
    page.finish()
}

/// On a logarithmic scale, so that a loss that falls for long does not end as a line along the axis.
fn losses(series: &[Series]) -> Group {
    let steps = series.iter().map(|one| one.losses.len()).max().unwrap_or(0);
    let window = (steps / 40).max(1);
    let logarithms = |one: &Series| -> Vec<(f64, f64)> {
        let means = curves::moving_average(&one.losses, window, POINTS);
        means.into_iter().map(|(step, loss)| (step, loss.log10())).collect()
    };
    let lines: Vec<_> = series.iter().map(logarithms).collect();
    let y = bounds(lines.iter().flatten().map(|&(_, loss)| loss));
    let plane = plane(LOSS, 0.0..=steps.max(1) as f64, y);
    let title = match window {
        1 => "training loss of each step, log scale".to_owned(),
        _ => format!("training loss, mean of {window} steps, log scale"),
    };
    let chart = frame(&plane, &title, "step")
        .add(plane.levels(&plane.y.log_ticks(8), power_of_ten))
        .add(plane.labels(&plane.x.whole_ticks(5), |step| step.to_string()));
    let lines = series.iter().zip(lines);
    let line = |(one, points): (&Series, _)| {
        let (name, look) = (one.name.clone(), one.look);
        Line { name, look, points, band: vec![] }
    };
    lines::add(chart, &plane, lines.map(line).collect())
}

/// The means of the runs as lines, and their standard errors as bands.
fn macro_f1(series: &[Series]) -> Group {
    let epochs = series.iter().map(|one| one.macro_f1.len()).max().unwrap_or(0);
    let runs = series.iter().flat_map(|one| one.macro_f1).map(|f1| f1.runs.len()).max();
    // The climb of many epochs may begin below the picture: it would squeeze what comes of it.
    let hidden = if epochs < MANY { 0 } else { epochs / 4 };
    let late = series.iter().flat_map(|one| one.macro_f1.iter().skip(hidden));
    let y = bounds(late.map(band).flat_map(|band| [*band.start(), *band.end()]));
    let plane = plane(MACRO_F1, 1.0..=epochs.max(2) as f64, y);
    let title = match runs {
        Some(2..) => "macro F1 on the test set, mean ± standard error",
        _ => "macro F1 on the test set",
    };
    let chart = frame(&plane, title, "epoch")
        .add(plane.levels(&plane.y.ticks(6), |f1| format!("{f1:.3}")))
        .add(plane.labels(&plane.x.whole_ticks(6), |epoch| epoch.to_string()));
    let line = |one: &Series| {
        let by_epoch = || (1..).map(f64::from).zip(one.macro_f1);
        Line {
            name: one.name.clone(),
            look: one.look,
            points: by_epoch().map(|(epoch, f1)| (epoch, f1.mean)).collect(),
            band: by_epoch().map(|(epoch, f1)| (epoch, band(f1))).collect(),
        }
    };
    lines::add(chart, &plane, series.iter().map(line).collect())
}

/// One standard error to each side.
fn band(f1: &Summary) -> RangeInclusive<f64> {
    let error = f1.standard_error().unwrap_or(0.0);
    f1.mean - error..=f1.mean + error
}

fn plane(across: (f64, f64), x: RangeInclusive<f64>, y: RangeInclusive<f64>) -> Plane {
    Plane { x: Scale::new(x, across), y: Scale::new(y, (BOTTOM, TOP)) }
}

/// The range of the numbers, with a margin; a usable one even for none, or a single one.
fn bounds(values: impl Iterator<Item = f64>) -> RangeInclusive<f64> {
    let numbers = values.filter(|value| value.is_finite());
    let (least, greatest) = numbers
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
            (least.min(value), greatest.max(value))
        });
    if least > greatest {
        return 0.0..=1.0;
    }
    let air = ((greatest - least) * 0.05).max(0.001);
    least - air..=greatest + air
}
