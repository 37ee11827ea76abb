//! What Monte Carlo dropout tells the layers past the model that lies between: to draw in evaluation
//! too, and that a batch is several passes side by side.

use std::cell::Cell;

use crate::error::{Error, Result};

/// A run of a model: `fold` passes over a batch of `rows`, side by side in dimension 0.
#[derive(Clone, Copy, Debug)]
struct Run {
    fold: i64,
    rows: i64,
    /// Whether a layer has drawn a mask in it.
    drew: bool,
}

thread_local! {
    static CURRENT: Cell<Option<Run>> = const { Cell::new(None) };
}

/// Runs a model with the layers of this thread awake; returns too whether one of them drew a mask.
pub(crate) fn run<T>(fold: i64, rows: i64, model: impl FnOnce() -> T) -> (T, bool) {
    let _restore = Restore(CURRENT.replace(Some(Run { fold, rows, drew: false })));
    let output = model();
    (output, CURRENT.get().is_some_and(|run| run.drew))
}

/// Puts the outer run back, after a panic too.
struct Restore(Option<Run>);

impl Drop for Restore {
    fn drop(&mut self) {
        let inner_drew = CURRENT.get().is_some_and(|run| run.drew);
        CURRENT.set(self.0.map(|outer| Run { drew: outer.drew || inner_drew, ..outer }));
    }
}

/// Whether layers are to draw though `train` is false.
pub(crate) fn awake() -> bool {
    CURRENT.get().is_some()
}

/// Whether the batch that the layers see is of more than one pass.
pub(crate) fn folded() -> bool {
    CURRENT.get().is_some_and(|run| run.fold > 1)
}

/// How many passes lie side by side in a layer's input of this size.
pub(crate) fn fold_of(size: &[i64]) -> Result<i64> {
    match CURRENT.get() {
        Some(Run { fold, rows, .. }) if fold > 1 => match size.first() {
            // A model may make more rows of each, as in `[N, T, C]` to `[N * T, C]`.
            Some(size) if size % (fold * rows) == 0 => Ok(fold),
            _ => Err(Error::FoldedBatch { rows: fold * rows, shape: size.to_vec() }),
        },
        _ => Ok(1),
    }
}

/// A layer says that it draws a mask.
pub(crate) fn note_draw() {
    if let Some(run) = CURRENT.get() {
        CURRENT.set(Some(Run { drew: true, ..run }));
    }
}
