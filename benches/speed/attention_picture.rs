//! The memory that attention takes, over the length of its sequences.

use anyhow::Result;
use picture::lines::{self, Line, frame};
use picture::page::{Page, text};
use picture::plane::{Plane, Scale, power_of_ten};
use picture::style;
use tch::Kind;

use crate::attention::{P, Row};
use crate::machine::Machine;

/// Batch, heads and features of a head.
const SHAPE: [i64; 3] = [1, 8, 64];

/// Draws the peak beyond the inputs of a forward and a backward pass, in a process for each length and variant.
pub fn draw(quick: bool, machine: &Machine) -> Result<String> {
    let lengths: &[i64] = if quick { &[64, 256] } else { &[256, 512, 1024, 2048, 4096] };
    let variants = [
        ("libtorch", "libtorch", style::LIBTORCH),
        ("libtorch, p = 0", "libtorch without dropout", style::NOTHING),
        ("Attention", "Attention", style::ELEMENTS),
    ];
    let mut drawn = Vec::new();
    for (variant, name, look) in variants {
        let mut points = Vec::new();
        for &length in lengths {
            let [batch, heads, features] = SHAPE;
            let shape = [batch, heads, length, features];
            let [_, _, peak] = Row { shape, causal: false, kind: Kind::Float }.measure(variant)?;
            points.push(((length as f64).log2(), (peak / 1e6).log10()));
        }
        let last = 10f64.powf(points[points.len() - 1].1);
        let name = format!("{name}: {last:.0} MB");
        drawn.push(Line { name, look, points, band: Vec::new() });
    }
    let peaks = || drawn.iter().flat_map(|line| &line.points).map(|&(_, peak)| peak);
    let (least, most) = (peaks().fold(f64::MAX, f64::min), peaks().fold(f64::MIN, f64::max));
    let x: Vec<f64> = lengths.iter().map(|&length| (length as f64).log2()).collect();
    let plane = Plane {
        x: Scale::new(x[0]..=x[x.len() - 1], (56.0, 560.0)),
        y: Scale::new(least - 0.1..=most + 0.1, (330.0, 78.0)),
    };
    let title = "How much memory does attention with dropout take?";
    let description = "Peak memory of a forward and a backward pass over the length of the sequences, a line for each way.";
    let mut page = Page::titled(title, description, 420.0, quick);
    let heading = format!("MB beyond the inputs [1, 8, T, 64], f32, p = {P}, log scale");
    let chart = frame(&plane, &heading, "T, log scale")
        .add(plane.levels(&plane.y.log_ticks(8), power_of_ten))
        .add(plane.labels(&x, |length| length.exp2().to_string()));
    page.add(lines::add(chart, &plane, drawn));
    for (line, y) in machine.to_string().lines().zip([396.0, 412.0]) {
        page.add(text(line, (14.0, y), "soft small"));
    }
    Ok(page.finish())
}
