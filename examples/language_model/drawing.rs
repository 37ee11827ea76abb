//! The picture: a chart for the training text and one for the validation text, with a line for each model.

use picture::lines::{self, Line, frame};
use picture::page::{Page, text};
use picture::plane::{Plane, Scale};
use picture::style::{ELEMENTS, Look, NOTHING};
use svg::node::element::Group;

use crate::learner::{Learner, Losses};
use crate::model::Architecture;

// In pixels.
const HEIGHT: f64 = 390.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 312.0;
const TRAINING: (f64, f64) = (56.0, 296.0);
const VALIDATION: (f64, f64) = (448.0, 688.0);
/// How each model's line is drawn.
const LOOKS: [Look; 2] = [NOTHING, ELEMENTS];

pub fn draw(learners: &[Learner; 2], model: Architecture, is_trial: bool) -> String {
    let [without, with] =
        learners.each_ref().map(|learner| learner.best().map_or(f64::NAN, |(_, loss)| loss));
    let title =
        format!("The lowest validation loss: {without:.2} without dropout, {with:.2} with it");
    let description = "Left: the loss on the training text at each step. Right: on the validation text. \
                       A line without dropout, and one with it.";
    let mut page = Page::titled(&title, description, HEIGHT, is_trial);
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
    let line = |(learner, look): (&Learner, Look)| {
        let point = |(step, losses): &(u32, Losses)| (f64::from(*step), loss(losses));
        let points = learner.history.iter().map(point).collect();
        Line { name: learner.name.to_owned(), look, points, band: vec![] }
    };
    let plane = plane(across, learners);
    let chart = frame(&plane, title, "step")
        .add(plane.levels(&plane.y.ticks(6), |loss| loss.to_string()))
        .add(plane.labels(&plane.x.ticks(5), |step| step.to_string()));
    lines::add(chart, &plane, learners.iter().zip(LOOKS).map(line).collect())
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
