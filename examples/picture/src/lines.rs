//! Named lines, each in the colour of what it stands for.

use std::ops::RangeInclusive;

use svg::node::element::Group;

use crate::page::{tenth, text};
use crate::plane::{Plane, apart};
use crate::style::Look;

/// A line of a chart, and the band around it, if it has one.
pub struct Line {
    pub name: String,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
    pub band: Vec<(f64, RangeInclusive<f64>)>,
}

/// The smallest gap between two names at the ends of their lines.
const NAMES_APART: f64 = 17.0;

/// Adds lines to a chart: first all bands, then the lines, each with its name where it ends.
pub fn add(mut chart: Group, plane: &Plane, lines: Vec<Line>) -> Group {
    let (bottom, top) = plane.y.pixels();
    for Line { look, band, .. } in lines.iter().filter(|line| !line.band.is_empty()) {
        chart = chart.add(Group::new().set("class", look.colour).add(plane.band(band)));
    }
    let end = |line: &Line| {
        let last = line.points.iter().rev().find(|(_, y)| y.is_finite());
        last.map_or(bottom, |&(_, y)| plane.y.at(y).clamp(top, bottom))
    };
    let heights = apart(&lines.iter().map(end).collect::<Vec<_>>(), NAMES_APART);
    let right = plane.x.pixels().1 + 8.0;
    lines.into_iter().zip(heights).fold(
        chart,
        |chart, (Line { name, look, points, .. }, height)| {
            let name = text(name, (right, tenth(height + 4.0)), "bold small");
            let line = plane.line(points).set("class", look.line());
            chart.add(Group::new().set("class", look.colour).add(line).add(name))
        },
    )
}

/// A chart's title above it, and the label of its x axis below.
pub fn frame(plane: &Plane, title: &str, x: &str) -> Group {
    let ((left, right), (bottom, top)) = (plane.x.pixels(), plane.y.pixels());
    Group::new().add(text(title, (left - 42.0, top - 20.0), "")).add(text(
        x,
        ((left + right) / 2.0, bottom + 40.0),
        "middle soft small",
    ))
}
