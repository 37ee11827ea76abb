//! Draws a row for each shape and a column for each pass, with two bars in each cell.

use anyhow::Result;
use picture::page::{Page, tenth, text};
use picture::style::{ELEMENTS, LIBTORCH, Look};
use svg::node::element::{Group, Line, Rectangle};

use crate::figures::{Figures, Pair, Row, Time};

// In pixels.
const LEFT: f64 = 14.0;
const COLUMNS: [f64; 2] = [172.0, 510.0];
const LONGEST_BAR: f64 = 180.0;
/// From a column's left to where its ratios end.
const RATIO: f64 = 306.0;
const BAR: f64 = 15.0;
const TOP: f64 = 106.0;
const ROW: f64 = 54.0;

pub fn draw(figures: &Figures) -> Result<String> {
    let rows = figures.rows()?;
    let bottom = TOP + rows.len() as f64 * ROW;
    let title = title(&rows);
    let description = format!("The time of one call, libtorch's and ours: {}", figures.caption());
    let provenance = figures.provenance();
    let lines = if provenance.is_some() { 2.0 } else { 1.0 };
    let mut page = Page::new(&title, &description, bottom + 8.0 + 18.0 * lines);
    page.add(text(title, (LEFT, 24.0), "title"));
    page.add(legend());
    for (name, left) in ["with the backward pass", "forward alone"].into_iter().zip(COLUMNS) {
        page.add(text(name, (left, TOP - 16.0), "bold"));
    }
    for (row, top) in rows.iter().zip((0..).map(|row| TOP + f64::from(row) * ROW)) {
        let elements = format!("{} elements", thousands(row.shape.iter().product()));
        page.add(text(format!("{:?}", row.shape), (LEFT, top + 13.0), "bold"));
        page.add(text(elements, (LEFT, top + 30.0), "soft small"));
        for (pair, left) in row.pairs.iter().zip(COLUMNS) {
            page.add(bars(pair, (left, top)));
        }
    }
    let caption = format!("Each pair of bars has its own scale. {}.", figures.caption());
    page.add(text(caption, (LEFT, bottom + 14.0), "soft small"));
    if let Some(provenance) = provenance {
        page.add(text(provenance, (LEFT, bottom + 32.0), "soft small"));
    }
    Ok(page.finish())
}

/// The result, in a sentence.
fn title(rows: &[Row]) -> String {
    let range = |pass: usize| {
        let ratios = || rows.iter().map(|row| row.pairs[pass].ratio());
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        match (digits(least), digits(most)) {
            (least, most) if least == most => most,
            (least, most) => format!("{least} to {most}"),
        }
    };
    let (both, forward) = (range(0), range(1));
    format!("{both} times as fast as libtorch with the backward pass, {forward} without")
}

fn legend() -> Group {
    let middle = 330.0;
    Group::new()
        .add(bar((LEFT, 42.0), 22.0, LIBTORCH))
        .add(text("libtorch's Tensor::dropout", (LEFT + 30.0, 54.0), ""))
        .add(bar((middle, 42.0), 22.0, ELEMENTS))
        .add(text("this crate's TrueDropout, elements", (middle + 30.0, 54.0), ""))
}

/// libtorch's bar above ours, each with its time.
fn bars(pair: &Pair, (left, top): (f64, f64)) -> Group {
    let unit = LONGEST_BAR / pair.libtorch.longest().max(pair.ours.longest());
    let below = top + BAR + 3.0;
    let group = timed(Group::new(), &pair.libtorch, (left, top), unit, LIBTORCH, "soft small");
    timed(group, &pair.ours, (left, below), unit, ELEMENTS, &in_our_colour("small")).add(text(
        format!("{}×", digits(pair.ratio())),
        (left + RATIO, top + 23.0),
        &in_our_colour("end title"),
    ))
}

/// A bar, the spread of its turns, and its time in words behind both.
fn timed(
    group: Group,
    time: &Time,
    (left, top): (f64, f64),
    unit: f64,
    look: Look,
    class: &str,
) -> Group {
    let length = time.median * unit;
    let mut group = group.add(bar((left, top), length, look));
    let mut end = length;
    if let Some([low, high]) = time.quartiles {
        group = group.add(spread((left + low * unit, left + high * unit), top + BAR / 2.0));
        end = end.max(high * unit);
    }
    group.add(text(in_words(time.median), (left + end + 7.0, top + 12.0), class))
}

fn spread((low, high): (f64, f64), y: f64) -> Line {
    Line::new()
        .set("x1", tenth(low))
        .set("x2", tenth(high))
        .set("y1", tenth(y))
        .set("y2", tenth(y))
        .set("class", "thin ink")
}

fn in_our_colour(class: &str) -> String {
    format!("{class} {}", ELEMENTS.colour)
}

fn bar((x, y): (f64, f64), length: f64, look: Look) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", tenth(length.max(1.0)))
        .set("height", BAR)
        .set("class", format!("fill {}", look.colour))
}

/// A time that is given in nanoseconds.
fn in_words(ns: f64) -> String {
    let (unit, name) = if ns < 1e6 { (1e3, "µs") } else { (1e6, "ms") };
    format!("{} {name}", digits(ns / unit))
}

/// Two digits or more.
fn digits(number: f64) -> String {
    let decimals = match number {
        ..1.0 => 2,
        ..10.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
