//! The picture: the rotated digits, the class probabilities below them, and the uncertainty in nats.

use anyhow::Result;
use picture::page::{Page, tenth, text};
use picture::plane::{Plane, Scale};
use picture::style::ELEMENTS;
use svg::node::element::{Group, Path, Text};
use tch::Tensor;

use crate::curves::{Class, Curves};
use crate::digit;

// In pixels.
const HEIGHT: f64 = 610.0;
/// The x of the first and the last angle; the digits above are centred on theirs.
const ACROSS: (f64, f64) = (56.0, 792.0);
const DIGITS: f64 = 42.0;
const PIXEL: f64 = 2.0;
/// Bottom and top of each chart.
const PROBABILITY: (f64, f64) = (346.0, 136.0);
const ENTROPY: (f64, f64) = (448.0, 392.0);
const INFORMATION: (f64, f64) = (570.0, 494.0);
/// Shows the digit at every third angle.
const EVERY: usize = 3;
/// How the lines of classes with a name are dashed. All are of the same network, and so of the same colour.
const DASHES: [&str; 4] = ["none", "7 5", "2 5", "9 4 2 4"];

/// The SVG. `turned` has a rotated image `[784]` for each angle.
pub fn draw(curves: &Curves, turned: &Tensor, digit: i64, is_trial: bool) -> Result<String> {
    let title = format!("A {digit} is rotated, and the network becomes unsure");
    let description = "The digit at each angle; the mean probabilities of its classes over passes with \
                       dropout; the entropy of their mean, and the mutual information.";
    let mut page = Page::titled(&title, description, HEIGHT, is_trial);
    for digit in digits(curves, turned)? {
        page.add(digit);
    }
    page.add(probabilities(curves));
    page.add(nats(ENTROPY, curves, &curves.entropy, "entropy, in nats: how unsure it is"));
    let disagreement = "mutual information, in nats: how much of that is the passes' disagreement";
    page.add(nats(INFORMATION, curves, &curves.information, disagreement));
    let angles: Vec<f64> = curves.angles.iter().copied().step_by(EVERY).collect();
    page.add(plane(curves, INFORMATION, 1.0).labels(&angles, |angle| format!("{angle}°")));
    Ok(page.finish())
}

fn digits(curves: &Curves, turned: &Tensor) -> Result<Vec<Group>> {
    let across = plane(curves, PROBABILITY, 1.0).x;
    let half = PIXEL * digit::SIDE as f64 / 2.0;
    let shown = curves.angles.iter().enumerate().step_by(EVERY);
    shown
        .map(|(i, &angle)| {
            let left = tenth(across.at(angle) - half);
            digit::draw(&turned.get(i as i64), (left, DIGITS), PIXEL)
        })
        .collect()
}

fn probabilities(curves: &Curves) -> Group {
    let plane = plane(curves, PROBABILITY, 1.0);
    let title = format!(
        "probability of each class, mean ± standard deviation of {} passes; thin lines: other classes",
        curves.passes
    );
    let chart = frame(&plane, &title).add(plane.levels(&[0.0, 0.5, 1.0], |p| format!("{p:.1}")));
    let order = curves.by_peak();
    let (named, others) = order.split_at(DASHES.len().min(order.len()));
    let chart = others.iter().fold(chart, |chart, &class| {
        chart.add(line(&plane, curves, &curves.classes[class].mean).set("class", "thin soft"))
    });
    named.iter().zip(DASHES).fold(chart, |chart, (&class, dashes)| {
        let values = &curves.classes[class];
        chart.add(
            Group::new()
                .set("class", ELEMENTS.colour)
                .add(band(&plane, curves, values))
                .add(line(&plane, curves, &values.mean).set("stroke-dasharray", dashes))
                .add(name(&plane, curves, class)),
        )
    })
}

/// The class's name where it is most probable: above its line, or below if there is no space.
fn name(plane: &Plane, curves: &Curves, class: usize) -> Text {
    let peak = curves.peak(class);
    let x = plane.x.at(curves.angles[peak]).clamp(ACROSS.0 + 12.0, ACROSS.1 - 12.0);
    let y = plane.y.at(curves.classes[class].mean[peak]);
    let y = if y - 24.0 < PROBABILITY.1 { y + 24.0 } else { y - 9.0 };
    text(class.to_string(), (x, y), "title middle")
}

/// A measure of uncertainty at each angle, on its own axis.
fn nats(place: (f64, f64), curves: &Curves, values: &[f64], title: &str) -> Group {
    // In halves, so that a network that is trained a little otherwise has the same axis.
    let most = (values.iter().copied().fold(0.1, f64::max) * 2.0).ceil() / 2.0;
    let plane = plane(curves, place, most);
    frame(&plane, title)
        .add(plane.levels(&plane.y.ticks(4), |nats| format!("{nats:.1}")))
        .add(Group::new().set("class", ELEMENTS.colour).add(line(&plane, curves, values)))
}

fn plane(curves: &Curves, (bottom, top): (f64, f64), most: f64) -> Plane {
    let (first, last) = (curves.angles[0], curves.angles[curves.angles.len() - 1]);
    Plane { x: Scale::new(first..=last, ACROSS), y: Scale::new(0.0..=most, (bottom, top)) }
}

/// A chart's title, above it.
fn frame(plane: &Plane, title: &str) -> Group {
    Group::new().add(text(title, (plane.x.pixels().0 - 42.0, plane.y.pixels().1 - 14.0), ""))
}

fn line(plane: &Plane, curves: &Curves, values: &[f64]) -> Path {
    plane.line(curves.angles.iter().copied().zip(values.iter().copied()))
}

/// One standard deviation to each side.
fn band(plane: &Plane, curves: &Curves, class: &Class) -> Path {
    let range = |(mean, deviation): (&f64, &f64)| mean - deviation..=mean + deviation;
    let ranges = class.mean.iter().zip(&class.deviation).map(range);
    plane.band(&curves.angles.iter().copied().zip(ranges).collect::<Vec<_>>())
}
