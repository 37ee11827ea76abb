//! How the layers of a segment draw the same masks when it is run again.
//!
//! Each time a layer is called, it takes its probability, and if it draws, a counter. The first run records both,
//! in order; the second hands them out again. So streams are not set back, and do not move: other threads may be
//! using them.
//!
//! Runs nest, if a segment has segments inside. What is drawn in the inner one is recorded by both.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::error::{CheckpointError, Result};
use crate::probability::Probability;
use crate::rng::counter::Counter;

/// What the layers of a run took, or are still to take.
#[derive(Clone, Default)]
pub(super) struct Draws {
    probabilities: VecDeque<Probability>,
    counters: VecDeque<Counter>,
}

/// A run of a segment on this thread.
struct Run {
    is_again: bool,
    draws: Draws,
}

thread_local! {
    /// From the outermost to the innermost.
    static RUNS: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

/// Runs a segment for the first time, and records what its layers take.
#[cfg(recompute)]
pub(super) fn record<T>(segment: impl FnOnce() -> T) -> (T, Draws) {
    run(Run { is_again: false, draws: Draws::default() }, segment)
}

/// Runs a segment again. Whether its layers took as much as the first time.
#[cfg(recompute)]
pub(super) fn replay<T>(draws: Draws, segment: impl FnOnce() -> T) -> (T, bool) {
    let (output, left) = run(Run { is_again: true, draws }, segment);
    (output, left.probabilities.is_empty() && left.counters.is_empty())
}

#[cfg(recompute)]
fn run<T>(run: Run, segment: impl FnOnce() -> T) -> (T, Draws) {
    let outer = RUNS.with_borrow_mut(|runs| {
        runs.push(run);
        runs.len() - 1
    });
    let end = End(outer);
    let output = segment();
    let draws = RUNS.with_borrow_mut(|runs| std::mem::take(&mut runs[outer].draws));
    drop(end);
    (output, draws)
}

/// Ends a run, even after a panic.
#[cfg(recompute)]
struct End(usize);

#[cfg(recompute)]
impl Drop for End {
    fn drop(&mut self) {
        RUNS.with_borrow_mut(|runs| runs.truncate(self.0));
    }
}

/// The probability for a layer's call: this one, unless a segment is run again.
pub(crate) fn probability(now: Probability) -> Result<Probability> {
    take(|draws| &mut draws.probabilities, || now)
}

/// The counter of a draw: this one, unless a segment is run again.
pub(crate) fn counter(new: impl FnOnce() -> Counter) -> Result<Counter> {
    take(|draws| &mut draws.counters, new)
}

fn take<T: Copy>(queue: fn(&mut Draws) -> &mut VecDeque<T>, new: impl FnOnce() -> T) -> Result<T> {
    RUNS.with_borrow_mut(|runs| {
        // A segment that is run again takes nothing from outside.
        let inner = runs.iter().rposition(|run| run.is_again);
        let taken = match inner {
            Some(again) => queue(&mut runs[again].draws)
                .pop_front()
                .ok_or(CheckpointError::Changed("it drew more masks"))?,
            None => new(),
        };
        let recording = inner.map_or(0, |again| again + 1);
        for run in &mut runs[recording..] {
            queue(&mut run.draws).push_back(taken);
        }
        Ok(taken)
    })
}
