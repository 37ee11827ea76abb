//! The test error after each pass: a chart for each number of passes, and a line for each network.

use std::iter;

use picture::lines::{self, frame};
use picture::plane::{Plane, Scale};
use svg::node::element::Group;

use super::outcome::{Outcome, by_length};
use crate::chart::line;
use crate::options::{Options, in_words};

/// Where charts begin, and where the last one's names end.
const SIDES: (f64, f64) = (14.0, 826.0);
/// The room for the labels on the left of a chart, and for the names on its right.
const LABELS: f64 = 42.0;
const NAMES: f64 = 150.0;

pub fn draw(data: &str, options: &Options, results: &[Outcome]) -> String {
    let title = format!("How many errors does dropout prevent on {data}?");
    let description = "Test error after each pass over the training set, a line for each way to train the same \
                       network, and a chart for each length of the training.";
    let mut page = options.page(&title, description, 440.0, data);
    let charts = by_length(results);
    let width = (SIDES.1 - SIDES.0) / charts.clone().count() as f64;
    let lefts = iter::successors(Some(SIDES.0), |left| Some(left + width));
    let y = y(results);
    for (left, results) in lefts.zip(charts) {
        page.add(chart(results, y, (left + LABELS, left + width - NAMES)));
    }
    page.finish()
}

/// The least and the greatest error that is shown. The first third may begin above the picture: the fall would squeeze
/// what comes of it.
fn y(results: &[Outcome]) -> (f64, f64) {
    let late = |outcome: &'_ Outcome| {
        let errors = &outcome.errors[outcome.errors.len() / 3..];
        errors.iter().map(|error| error.mean).collect::<Vec<_>>()
    };
    let (least, most) = results
        .iter()
        .flat_map(late)
        .fold((f64::MAX, 0.0f64), |(least, most), error| (least.min(error), most.max(error)));
    let margin = 0.1 * (most - least).max(0.1);
    ((least - margin).max(0.0), most + margin)
}

fn chart(results: &[Outcome], (least, most): (f64, f64), x: (f64, f64)) -> Group {
    let (passes, runs) = (results[0].errors.len(), results[0].last().runs.len());
    let plane = Plane {
        x: Scale::new(1.0..=passes.max(2) as f64, x),
        y: Scale::new(least..=most, (374.0, 78.0)),
    };
    let runs = in_words(runs as i64);
    let heading = match runs.as_str() {
        "1 run" => "test error in %, 1 run".to_owned(),
        _ => format!("test error in %, mean ± standard deviation of {runs}"),
    };
    let chart = frame(&plane, &heading, "pass")
        .add(plane.levels(&plane.y.ticks(8), |error| format!("{error:.1}")))
        .add(plane.labels(&plane.x.whole_ticks(8), |pass| pass.to_string()));
    let line = |outcome: &Outcome| {
        let name = format!("{}: {:.2} %", outcome.name, outcome.last().mean);
        line((name, outcome.look()), (1..).map(f64::from), &outcome.errors)
    };
    lines::add(chart, &plane, results.iter().map(line).collect())
}
