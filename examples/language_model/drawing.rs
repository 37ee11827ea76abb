//! The picture: a chart for the training text and one for the validation text, with a line for each model.

use picture::page::{Page, tenth, text};
use picture::plane::{Plane, Scale, apart};
use svg::node::element::Group;

use crate::learner::{Learner, Losses};
use crate::model::Architecture;

// In pixels.
const HEIGHT: f64 = 390.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 312.0;
const TRAINING: (f64, f64) = (56.0, 296.0);
const VALIDATION: (f64, f64) = (448.0, 688.0);
/// The smallest gap between two names at the ends of their lines.
const NAMES_APART: f64 = 17.0;
/// A class for each model's line.
const COLOURS: [&str; 2] = ["orange", "blue"];

pub fn draw(learners: &[Learner; 2], model: Architecture) -> String {
    let [without, with] =
        learners.each_ref().map(|learner| learner.best().map_or(f64::NAN, |(_, loss)| loss));
    let title =
        format!("The lowest validation loss: {without:.2} without dropout, {with:.2} with it");
    let description = "Left: the loss on the training text at each step. Right: on the validation text. \
                       A line without dropout, and one with it.";
    let mut page = Page::new(&title, description, HEIGHT);
    page.add(text(title, (14.0, 26.0), "title"));
    page.add(chart(TRAINING, "on the training text, in nats per character", learners, |losses| {
        losses.training
    }));
    page.add(chart(VALIDATION, "on the validation text", learners, |losses| losses.validation));
    let caption = format!(
        "{model} of {} weights, trained on the characters of this repository's licences.",
        learners[0].weights()
    );
    page.add(text(caption, (14.0, HEIGHT - 12.0), "soft small"));
    page.finish()
}

fn chart(
    across: (f64, f64),
    title: &str,
    learners: &[Learner; 2],
    loss: impl Fn(&Losses) -> f64,
) -> Group {
    let line = |learner: &Learner| -> Vec<(f64, f64)> {
        learner.history.iter().map(|(step, losses)| (f64::from(*step), loss(losses))).collect()
    };
    let lines = learners.each_ref().map(line);
    let plane = plane(across, learners);
    let (left, right) = across;
    let chart = Group::new()
        .add(text(title, (left - 42.0, TOP - 20.0), ""))
        .add(text("step", ((left + right) / 2.0, BOTTOM + 40.0), "middle soft small"))
        .add(plane.levels(&plane.y.ticks(6), |loss| loss.to_string()))
        .add(plane.labels(&plane.x.ticks(5), |step| step.to_string()));

    let ends = lines.each_ref().map(|line| {
        let end = line.last().map_or(0.0, |&(_, loss)| loss);
        plane.y.at(end).clamp(TOP, BOTTOM)
    });
    let heights = apart(&ends, NAMES_APART);
    let named = learners.iter().zip(COLOURS).zip(lines.into_iter().zip(heights));
    named.fold(chart, |chart, ((learner, colour), (line, height))| {
        let name = text(learner.name, (right + 8.0, tenth(height + 4.0)), "bold small");
        chart.add(Group::new().set("class", colour).add(plane.line(line)).add(name))
    })
}

/// From 0 to the greatest loss, on both charts alike.
fn plane(across: (f64, f64), learners: &[Learner; 2]) -> Plane {
    let history = || learners.iter().flat_map(|learner| &learner.history);
    let last = history().map(|(step, _)| *step).max().unwrap_or(0);
    let all = history().flat_map(|(_, losses)| [losses.training, losses.validation]);
    let most = all.filter(|loss| loss.is_finite()).fold(0.1, f64::max);
    Plane {
        x: Scale::new(0.0..=f64::from(last.max(1)), across),
        y: Scale::new(0.0..=most, (BOTTOM, TOP)),
    }
}
