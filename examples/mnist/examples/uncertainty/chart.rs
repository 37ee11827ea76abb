//! The picture: the digit's turns, its probabilities beneath them, and the uncertainty in nats.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use tch::Tensor;

use crate::curves::{Class, Curves};
use crate::digit;

const SIZE: (u32, u32) = (880, 580);
/// The axes' ends, in pixels. The digits stand above their angles.
const LEFT: i32 = 50;
const RIGHT: i32 = 842;
const TITLE: i32 = 20;
const DIGITS: i32 = 44;
const PIXEL: f64 = 2.0;
/// Top and bottom of each chart.
const PROBABILITIES: (i32, i32) = (138, 388);
const NATS: (i32, i32) = (446, 546);
/// Angles from one digit that is shown to the next.
const EVERY: usize = 3;

const INK: RGBColor = RGBColor(40, 40, 40);
const GREY: RGBColor = RGBColor(165, 165, 165);
/// Okabe and Ito's, which the colour-blind tell apart, but for those that are pale on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(150, 105, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 60, 150),
];

type Picture<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The SVG. `turned` has an image `[784]` for each angle.
pub fn draw(curves: &Curves, turned: &Tensor, digit: i64) -> Result<String> {
    let mut svg = String::new();
    {
        let picture = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        picture.fill(&WHITE)?; // Legible on a dark page too.
        let title = format!("A {digit} is turned, and the network becomes unsure");
        write(&picture, &title, 22, (LEFT, TITLE), HPos::Left)?;
        let what = format!("mean of {} passes ± standard deviation", curves.passes);
        write(&picture, &what, 16, (RIGHT, TITLE), HPos::Right)?;
        draw_probabilities(&picture, curves)?;
        draw_nats(&picture, curves)?;
        picture.present()?;
    }
    // Plotters would write an element per pixel.
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.insert_str(end, &digits(curves, turned)?);
    Ok(svg)
}

fn digits(curves: &Curves, turned: &Tensor) -> Result<String> {
    let half = PIXEL * digit::SIDE as f64 / 2.0;
    let angle = f64::from(RIGHT - LEFT) / (curves.angles.len() - 1) as f64;
    (0..curves.angles.len())
        .step_by(EVERY)
        .map(|i| {
            let x = f64::from(LEFT) + i as f64 * angle - half;
            digit::svg(&turned.get(i as i64), x.round(), f64::from(DIGITS), PIXEL)
        })
        .collect()
}

fn draw_probabilities(picture: &Picture, curves: &Curves) -> Result<()> {
    let mut chart = axes(picture, curves, PROBABILITIES, 1.0)?;
    let notable: Vec<_> = curves.notable().into_iter().zip(COLOURS).collect();
    for class in 0..curves.classes.len() {
        if !notable.iter().any(|(other, _)| *other == class) {
            line(&mut chart, &curves.classes[class].mean, GREY)?;
        }
    }
    for &(class, colour) in &notable {
        band(&mut chart, &curves.classes[class], colour)?;
    }
    let legend_y = PROBABILITIES.0 - 18;
    write(picture, "probability of class", 16, (LEFT, legend_y), HPos::Left)?;
    let mut x = LEFT + 150;
    for &(class, colour) in &notable {
        line(&mut chart, &curves.classes[class].mean, colour)?;
        x = legend(picture, &class.to_string(), colour, x, legend_y)? + 20;
    }
    legend(picture, "others", GREY, x, legend_y)?;
    Ok(())
}

fn draw_nats(picture: &Picture, curves: &Curves) -> Result<()> {
    let highest = (curves.classes.len() as f64).ln();
    let mut chart = axes(picture, curves, NATS, highest)?;
    line(&mut chart, &curves.entropy, INK)?;
    line(&mut chart, &curves.information, COLOURS[1])?;
    let y = NATS.0 - 18;
    let x = legend(picture, "entropy in nats: all the uncertainty", INK, LEFT, y)? + 70;
    legend(picture, "mutual information: the model's share of it", COLOURS[1], x + 60, y)?;
    Ok(())
}

/// A chart between two heights of the picture. Its x axis counts the digits that are shown, as plotters
/// would not put its numbers beneath them otherwise.
fn axes<'a, 'b>(
    picture: &'a Picture<'b>,
    curves: &Curves,
    (top, bottom): (i32, i32),
    highest: f64,
) -> Result<Chart<'a, 'b>> {
    const BELOW: i32 = 24;
    let area = picture.clone().shrink((0, top), (RIGHT as u32, (bottom + BELOW - top) as u32));
    let shown = (curves.angles.len() - 1) / EVERY;
    let end = curves.angles[shown * EVERY];
    let mut chart = ChartBuilder::on(&area)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(0.0..shown as f64, 0.0..highest)?;
    chart
        .configure_mesh()
        .x_labels(shown + 1)
        .y_labels(5)
        .max_light_lines(0)
        .bold_line_style(GREY.mix(0.4))
        .axis_style(INK)
        .label_style(TextStyle::from(("sans-serif", 16)).color(&INK))
        .x_label_formatter(&|place| format!("{:.0}°", place * end / shown as f64))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    Ok(chart)
}

fn line(chart: &mut Chart, values: &[f64], colour: RGBColor) -> Result<()> {
    let points = values.iter().enumerate().map(|(i, &value)| (x_of(i), value));
    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    Ok(())
}

/// A standard deviation to each side, as far as probabilities go.
fn band(chart: &mut Chart, class: &Class, colour: RGBColor) -> Result<()> {
    let edge = |sign: f64| {
        let at = move |i: usize| (class.mean[i] + sign * class.deviation[i]).clamp(0.0, 1.0);
        (0..class.mean.len()).map(move |i| (x_of(i), at(i)))
    };
    let outline: Vec<_> = edge(1.0).chain(edge(-1.0).rev()).collect();
    chart.draw_series([Polygon::new(outline, colour.mix(0.18))])?;
    Ok(())
}

/// Where the i-th angle is on the x axis.
fn x_of(i: usize) -> f64 {
    i as f64 / EVERY as f64
}

/// A stroke and a name; returns where the name ends, roughly.
fn legend(picture: &Picture, name: &str, colour: RGBColor, x: i32, y: i32) -> Result<i32> {
    picture.draw(&PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)))?;
    write(picture, name, 16, (x + 26, y), HPos::Left)?;
    Ok(x + 26 + 7 * name.len() as i32)
}

/// Writes a line that begins or ends at a point, centred upon its height.
fn write(picture: &Picture, text: &str, size: u32, at: (i32, i32), side: HPos) -> Result<()> {
    let anchor = Pos::new(side, VPos::Center);
    let style = TextStyle::from(("sans-serif", size)).color(&INK).pos(anchor);
    picture.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}
