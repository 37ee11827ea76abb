//! Shows the progress of training.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tch::Tensor;

use crate::console::note;

/// Steps between two reads of the loss: each read waits for the GPU.
const STEPS_PER_LOOK: usize = 50;

/// A bar on a terminal, a line per epoch elsewhere.
pub struct Progress {
    bar: ProgressBar,
    title: String,
    epochs: i64,
    images: i64,
}

impl Progress {
    pub fn new(title: String, epochs: i64, images: i64) -> Self {
        let bar = ProgressBar::new(epochs.saturating_mul(images) as u64);
        bar.set_style(
            ProgressStyle::with_template("{prefix} {wide_bar} loss {msg} {per_sec} {eta}")
                .expect("a template that indicatif knows")
                .with_key("per_sec", |state: &ProgressState, out: &mut dyn Write| {
                    let _ = write!(out, "{:.0} images/s", state.per_sec());
                }),
        );
        bar.set_prefix(title.clone());
        Progress { bar, title, epochs, images }
    }

    pub fn step(&self, loss: &Tensor, step: usize, images: i64) {
        if self.bar.is_hidden() {
            return;
        }
        if step.is_multiple_of(STEPS_PER_LOOK) {
            self.bar.set_message(format!("{:.3}", loss.double_value(&[])));
        }
        self.bar.inc(images as u64);
    }

    pub fn epoch(&self, epoch: i64, loss: f32, seconds: f64) {
        if self.bar.is_hidden() {
            let (title, epochs) = (&self.title, self.epochs);
            let speed = self.images as f64 / seconds;
            note(format_args!(
                "{title} epoch {epoch}/{epochs}: loss {loss:.3}, {speed:.0} images/s"
            ));
        }
        if epoch == self.epochs {
            self.bar.finish_and_clear();
        }
    }
}
