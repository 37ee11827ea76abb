//! What the first rank shows while training goes on, and how long it takes.

use std::time::Instant;

use mnist_experiment::console::note;
use mnist_experiment::data::Dataset;
use mnist_experiment::progress::Progress;
use tch::Tensor;

use crate::ranks::Ranks;

/// How long training took.
pub struct Time {
    pub seconds_per_epoch: f64,
    /// The part of it that this rank was in the all-reduce.
    pub in_all_reduce: f64,
}

pub struct Watch<'a> {
    ranks: &'a Ranks,
    /// On the first rank only.
    progress: Option<Progress>,
    per_epoch: i64,
    batch_size: i64,
    start: Instant,
    taken: i64,
}

impl<'a> Watch<'a> {
    /// Says what goes on from which step, and starts the clock.
    pub fn start(
        ranks: &'a Ranks,
        data: &Dataset,
        (epochs, per_epoch, batch_size): (i64, i64, i64),
        step: i64,
    ) -> Self {
        let on = match ranks.size() {
            1 => "1 rank".to_owned(),
            size => format!("{size} ranks"),
        };
        let (train, test) = (data.train.items(), data.test.items());
        let progress = ranks.is_first().then(|| {
            let name = &data.name;
            note(format_args!("{name}: {train} training and {test} test images, on {on}."));
            if step > 0 {
                note(format_args!("Resumed after step {step} of {}.", epochs * per_epoch));
            }
            Progress::new(on, epochs, train)
        });
        Watch { ranks, progress, per_epoch, batch_size, start: Instant::now(), taken: 0 }
    }

    /// Takes note of a step.
    pub fn step(&mut self, step: i64, loss: f32) {
        self.taken += 1;
        let Some(progress) = &self.progress else { return };
        progress.step(&Tensor::from(loss), step as usize, self.batch_size);
        if step % self.per_epoch == 0 {
            progress.epoch(step / self.per_epoch, loss, self.seconds_per_epoch());
        }
    }

    /// Since the start; `None` if no step was taken.
    pub fn time(&self) -> Option<Time> {
        (self.taken > 0).then(|| Time {
            seconds_per_epoch: self.seconds_per_epoch(),
            in_all_reduce: self.ranks.time_summing().div_duration_f64(self.start.elapsed()),
        })
    }

    fn seconds_per_epoch(&self) -> f64 {
        self.start.elapsed().as_secs_f64() / self.taken as f64 * self.per_epoch as f64
    }
}
