//! A plot of the training runs: loss per step on the left, macro F1 per epoch on the right.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Result;
use picture::page::{Page, tenth, text};
use picture::plane::{Plane, Scale, apart};
use picture::style::SERIES;
use svg::node::element::Group;

use crate::curves;
use crate::metrics::Summary;
use crate::output;

/// The data of a layer's lines.
pub struct Series<'a> {
    pub name: String,
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
/// The smallest gap between two names at the ends of their lines.
const NAMES_APART: f64 = 17.0;
/// The most points that a line can show.
const POINTS: usize = 200;

/// Draws the series and writes them to an SVG file.
pub fn write(path: &Path, title: &str, series: &[Series]) -> Result<()> {
    output::write(path, draw(title, series).as_bytes())
}

fn draw(title: &str, series: &[Series]) -> String {
    let mut page = Page::new(
        title,
        "Left: training loss per step. Right: macro F1 on the test set per epoch. A line for each layer.",
        HEIGHT,
    );
    page.add(text(title, (14.0, 26.0), "title"));
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
        1 => "training loss of each step".to_owned(),
        _ => format!("training loss, mean of {window} steps"),
    };
    let chart = frame(&plane, &title, "step")
        .add(plane.levels(&decades(&plane.y), power_of_ten))
        .add(plane.labels(&plane.x.ticks(5), |step| step.to_string()));
    draw_lines(chart, &plane, series, lines)
}

/// The means of the runs as lines, and their standard errors as bands.
fn macro_f1(series: &[Series]) -> Group {
    let epochs = series.iter().map(|one| one.macro_f1.len()).max().unwrap_or(0);
    let runs = series.iter().flat_map(|one| one.macro_f1).map(|f1| f1.runs.len()).max();
    // The first quarter may begin below the picture: the climb would squeeze what comes of it.
    let late = series.iter().flat_map(|one| one.macro_f1.iter().skip(epochs / 4));
    let y = bounds(late.map(band).flat_map(|band| [*band.start(), *band.end()]));
    let plane = plane(MACRO_F1, 1.0..=epochs.max(2) as f64, y);
    let title = match runs {
        Some(2..) => "macro F1 on the test set, mean ± standard error",
        _ => "macro F1 on the test set",
    };
    let mut chart = frame(&plane, title, "epoch")
        .add(plane.levels(&plane.y.ticks(6), |f1| format!("{f1:.3}")))
        .add(plane.labels(&plane.x.ticks(6), |epoch| epoch.to_string()));
    let by_epoch =
        |one: &Series| (1..).map(f64::from).zip(one.macro_f1.to_vec()).collect::<Vec<_>>();
    for (one, colour) in series.iter().zip(SERIES) {
        let bands: Vec<_> =
            by_epoch(one).into_iter().map(|(epoch, f1)| (epoch, band(&f1))).collect();
        chart = chart.add(Group::new().set("class", colour).add(plane.band(&bands)));
    }
    let means = |one| by_epoch(one).into_iter().map(|(epoch, f1)| (epoch, f1.mean)).collect();
    draw_lines(chart, &plane, series, series.iter().map(means).collect())
}

/// One standard error to each side.
fn band(f1: &Summary) -> RangeInclusive<f64> {
    let error = f1.standard_error().unwrap_or(0.0);
    f1.mean - error..=f1.mean + error
}

/// Each line in its colour, and its layer's name where it ends.
fn draw_lines(
    chart: Group,
    plane: &Plane,
    series: &[Series],
    lines: Vec<Vec<(f64, f64)>>,
) -> Group {
    let end = |line: &Vec<(f64, f64)>| {
        let last = line.iter().rev().find(|(_, y)| y.is_finite());
        last.map_or(BOTTOM, |&(_, y)| plane.y.at(y).clamp(TOP, BOTTOM))
    };
    let heights = apart(&lines.iter().map(end).collect::<Vec<_>>(), NAMES_APART);
    let right = plane.x.pixels().1 + 8.0;
    let named = series.iter().zip(SERIES).zip(lines.into_iter().zip(heights));
    named.fold(chart, |chart, ((one, colour), (line, height))| {
        let name = text(&one.name, (right, tenth(height + 4.0)), "bold small");
        chart.add(Group::new().set("class", colour).add(plane.line(line)).add(name))
    })
}

fn plane(across: (f64, f64), x: RangeInclusive<f64>, y: RangeInclusive<f64>) -> Plane {
    Plane { x: Scale::new(x, across), y: Scale::new(y, (BOTTOM, TOP)) }
}

/// A chart's title above it, and the label of its x axis below.
fn frame(plane: &Plane, title: &str, x: &str) -> Group {
    let (left, right) = plane.x.pixels();
    Group::new().add(text(title, (left - 42.0, TOP - 20.0), "")).add(text(
        x,
        ((left + right) / 2.0, BOTTOM + 40.0),
        "middle soft small",
    ))
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

/// Whole powers of ten, unless there are too few.
fn decades(logarithms: &Scale) -> Vec<f64> {
    let ticks = logarithms.ticks(8);
    let whole: Vec<_> = ticks.iter().copied().filter(|tick| tick.fract() == 0.0).collect();
    if whole.len() > 1 { whole } else { ticks }
}

/// A short form, for normal losses and for those of a run that diverges.
fn power_of_ten(exponent: f64) -> String {
    let power = 10f64.powf(exponent);
    match exponent {
        -5.0..4.0 if exponent.fract() == 0.0 => power.to_string(),
        -2.0..4.0 => format!("{power:.2}"),
        _ => format!("{power:.0e}"),
    }
}
