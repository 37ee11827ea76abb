//! The trainings as a picture: loss per step on the left, macro F1 per epoch on the right.

mod axes;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::curves;
use crate::metrics::Summary;
use crate::output;

use axes::{axes, bounds, mesh};

/// What a layer's lines show.
pub struct Series<'a> {
    pub name: String,
    /// Of each step.
    pub losses: Vec<f64>,
    /// Of each epoch.
    pub macro_f1: &'a [Summary],
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

const SIZE: (u32, u32) = (960, 430);
const HEAD: u32 = 64;
/// How far a layer's epochs are from the next layer's.
const ASIDE: f64 = 0.06;
const FONT: (&str, u32) = ("sans-serif", 14);

/// What Okabe and Ito found that everybody can tell apart, less the yellow that white swallows. The
/// picture brings its white along, so it is the same on a light and on a dark page.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
];

/// Draws the series and writes them to an SVG file.
pub fn write(path: &Path, title: &str, series: &[Series]) -> Result<()> {
    let svg = draw(title, series).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    output::write(path, svg.as_bytes())
}

fn draw(title: &str, series: &[Series]) -> Drawn<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, charts) = root.split_vertically(HEAD);
        draw_head(&head, title, series)?;
        let (left, right) = charts.split_horizontally(SIZE.0 / 2);
        draw_losses(&left, series)?;
        draw_macro_f1(&right, series)?;
        root.present()?;
    }
    Ok(svg)
}

/// The title, and below it each layer's name with its colour.
fn draw_head(area: &Area, title: &str, series: &[Series]) -> Drawn<()> {
    area.draw_text(title, &("sans-serif", 17).into_text_style(area), (14, 10))?;
    let width = (SIZE.0 as i32 - 28) / COLOURS.len() as i32;
    for (i, (one, colour)) in series.iter().zip(COLOURS).enumerate() {
        let x = 14 + i as i32 * width;
        let line = PathElement::new([(x, 49), (x + 22, 49)], colour.stroke_width(3));
        area.draw(&line)?;
        area.draw_text(&one.name, &FONT.into_text_style(area), (x + 28, 42))?;
    }
    Ok(())
}

fn draw_losses(area: &Area, series: &[Series]) -> Drawn<()> {
    let steps = series.iter().map(|one| one.losses.len()).max().unwrap_or(0);
    let window = (steps / 40).max(1);
    let lines: Vec<Vec<(f64, f64)>> =
        series.iter().map(|one| finite(curves::moving_average(&one.losses, window, 200))).collect();
    let losses = lines.iter().flatten().map(|&(_, loss)| loss);
    let mut chart = axes(area, 0.0, steps, bounds(losses.chain([0.0])))?;
    let label = match window {
        1 => "training loss of each step".to_owned(),
        _ => format!("training loss, moving average of {window} steps"),
    };
    mesh(&mut chart, "step", &label, 2)?;
    for (line, colour) in lines.into_iter().zip(COLOURS) {
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    Ok(())
}

/// Means as lines; the standard deviation of the runs as bars, each layer's a little beside the
/// others'.
fn draw_macro_f1(area: &Area, series: &[Series]) -> Drawn<()> {
    let epochs = series.iter().map(|one| one.macro_f1.len()).max().unwrap_or(0);
    let spread = |f1: &Summary| [-1.0, 1.0].map(|sign| f1.mean + sign * f1.std.unwrap_or(0.0));
    // The first quarter may begin below the picture: the climb would squeeze what comes of it.
    let late = series.iter().flat_map(|one| one.macro_f1.iter().skip(epochs / 4));
    let y = bounds(late.flat_map(spread));
    let mut chart = axes(area, 0.5, epochs, y.clone())?;
    mesh(&mut chart, "epoch", "macro F1 on the test set, mean ± std of runs", 3)?;
    for (i, (one, colour)) in series.iter().zip(COLOURS).enumerate() {
        let aside = (i as f64 - (series.len() - 1) as f64 / 2.0) * ASIDE;
        let epochs = (1..).map(|epoch| epoch as f64 + aside).zip(one.macro_f1);
        let shown: Vec<_> = epochs.filter(|(_, f1)| f1.mean >= y.start).collect();
        let means = shown.iter().map(|(epoch, f1)| (*epoch, f1.mean));
        chart.draw_series(LineSeries::new(means.clone(), colour.stroke_width(2)))?;
        chart.draw_series(means.map(|mean| Circle::new(mean, 3, colour.filled())))?;
        chart.draw_series(shown.iter().map(|(epoch, f1)| {
            let ends = spread(f1).map(|end| (*epoch, end.clamp(y.start, y.end)));
            PathElement::new(ends, colour.mix(0.6).stroke_width(1))
        }))?;
    }
    Ok(())
}

/// A training that diverges has losses that no picture can show.
fn finite(mut line: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    line.retain(|(_, value)| value.is_finite());
    line
}
