//! The axes of a chart.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{Area, Drawn, FONT};

type Plane = Cartesian2d<Counted, RangedCoordf64>;
pub type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;

/// Axes for `1..=count`, with a margin on both sides.
pub fn axes<'a, 'b>(
    area: &'a Area<'b>,
    margin: f64,
    count: usize,
    y: Range<f64>,
) -> Drawn<Chart<'a, 'b>> {
    let x = (margin..count as f64 + margin).into();
    Ok(ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(Counted { x, count }, y)?)
}

/// An axis of whole things: a tick in the middle of one would say nothing.
pub struct Counted {
    x: RangedCoordf64,
    count: usize,
}

impl Ranged for Counted {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.x.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let decades = (0..).map(|exponent| 10usize.pow(exponent));
        let mut strides = decades.flat_map(|decade| [decade, 2 * decade, 5 * decade]);
        let stride = strides.find(|stride| self.count / stride <= 8).unwrap_or(1);
        (stride..=self.count).step_by(stride).map(|tick| tick as f64).collect()
    }

    fn range(&self) -> Range<f64> {
        self.x.range()
    }
}

pub fn mesh(chart: &mut Chart, x: &str, y: &str, digits: usize) -> Drawn<()> {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(FONT)
        .axis_desc_style(FONT)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| label(*y, digits))
        .draw()?;
    Ok(())
}

/// A training that diverges has losses of many digits.
fn label(y: f64, digits: usize) -> String {
    if y.abs() < 1e4 { format!("{y:.digits$}") } else { format!("{y:.1e}") }
}

/// From the least to the greatest value, with some air; something for no values, or a single one.
pub fn bounds(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
            (least.min(value), greatest.max(value))
        });
    if least > greatest {
        return 0.0..1.0;
    }
    let air = ((greatest - least) * 0.05).max(0.01);
    least - air..greatest + air
}
