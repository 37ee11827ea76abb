//! Shows how far an experiment is.

use std::fmt::Display;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use mnist_experiment::console::note;

/// A bar with the time left on a terminal, a line per trained network elsewhere.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// `work` is all that there is to do, in whatever unit [`done`](Self::done) counts.
    pub fn new(work: i64) -> Progress {
        let bar = ProgressBar::new(work as u64);
        bar.set_style(
            ProgressStyle::with_template("{msg} {wide_bar} {elapsed}, {eta} left")
                .expect("a template that indicatif knows"),
        );
        Progress { bar, start: Instant::now() }
    }

    /// A network begins its training.
    pub fn begin(&self, network: impl Display) {
        self.bar.set_message(network.to_string());
    }

    pub fn done(&self, work: i64) {
        self.bar.inc(work as u64);
    }

    /// The network that began is trained.
    pub fn end(&self, result: impl Display) {
        if self.bar.is_hidden() {
            let (all, done) = (self.bar.length().unwrap_or(0), self.bar.position());
            let (network, seconds) = (self.bar.message(), self.start.elapsed().as_secs());
            let percent = done * 100 / all.max(1);
            note(format_args!("{network}: {result} ({percent} % in {seconds} s)"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
