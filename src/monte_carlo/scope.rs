//! How Monte Carlo dropout tells the layers inside a model to draw in evaluation too, and how many passes lie
//! side by side in a batch.
//!
//! How does a layer know that its input is the batch, and not a weight that happens to have as many rows? It
//! compares with the first pass, which runs by itself: folding `n` passes makes the batch `n` times as long,
//! and nothing else. So the first pass records the input's shape for each draw, and the k-th draw of folded
//! passes must see the k-th shape with `n` times the rows.
//!
//! A shape does not tell whether the passes still lie one after the other, or the model has moved the batch behind
//! another dimension and flattened them together. So a rehearsal runs the model on two copies of the batch while
//! nothing is dropped: wherever a layer has a draw that rows share, the two halves of its input must be equal.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, MonteCarloError, Result};
use crate::trace;

/// The shape of the input of each draw in one pass.
pub(super) type Shapes = Vec<Vec<i64>>;

/// One run of a model.
struct Scope {
    /// The number of passes side by side, and the shapes of a single pass.
    folded: Option<(i64, Shapes)>,
    draws: Shapes,
    /// Whether a run within this one drew a mask.
    inner_drew: bool,
    /// Whether two equal copies of the batch lie side by side, and layers only look at them.
    is_rehearsal: bool,
    /// The first error that a layer returned because passes are folded. The model may not pass it on.
    error: Option<MonteCarloError>,
}

impl Scope {
    fn new(folded: Option<(i64, Shapes)>, is_rehearsal: bool) -> Self {
        Scope { folded, draws: Vec::new(), inner_drew: false, is_rehearsal, error: None }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// What a run leaves behind.
pub(super) struct Outcome {
    pub(super) draws: Shapes,
    pub(super) drew: bool,
}

/// Runs a model, with the layers on this thread active. `folded` has the number of passes side by side in its
/// batch, and the shapes of a single pass.
/// If a layer returned an error because passes are folded, so does this, whatever the model made of it.
pub(super) fn run<T>(
    folded: Option<(i64, &Shapes)>,
    model: impl FnOnce() -> T,
) -> Result<(T, Outcome)> {
    let folded = folded.map(|(passes, shapes)| (passes, shapes.clone()));
    enter(Scope::new(folded, false), model)
}

/// Runs a model on two copies of a batch, with the layers on this thread looking at their inputs, and dropping
/// nothing. Checks that their outputs are the same.
pub(super) fn rehearse(model: impl FnOnce() -> Result<Tensor>) -> Result<()> {
    let (outputs, _) = enter(Scope::new(Some((2, Vec::new())), true), model)?;
    let outputs = outputs?;
    if has_equal_halves(&outputs)? {
        return Ok(());
    }
    Err(MonteCarloError::MixedOutput(outputs.size()).into())
}

fn enter<T>(scope: Scope, model: impl FnOnce() -> T) -> Result<(T, Outcome)> {
    let outer = Restore(CURRENT.replace(Some(scope)));
    let output = model();
    let inner = CURRENT.take().expect("each run puts back what it found");
    drop(outer);
    let drew = inner.inner_drew || !inner.draws.is_empty();
    if drew {
        CURRENT.with_borrow_mut(|outer| outer.iter_mut().for_each(|outer| outer.inner_drew = true));
    }
    match inner.error {
        Some(error) => Err(error.into()),
        None => Ok((output, Outcome { draws: inner.draws, drew })),
    }
}

/// Restores the outer run, even after a panic.
struct Restore(Option<Scope>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Whether layers draw even if `train` is false.
pub(crate) fn is_active() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Whether several passes lie side by side in the batch.
pub(super) fn is_folded() -> bool {
    CURRENT.with_borrow(|scope| scope.as_ref().is_some_and(|scope| scope.folded.is_some()))
}

/// Whether this is a rehearsal, in which a layer drops nothing.
pub(crate) fn is_rehearsal() -> bool {
    CURRENT.with_borrow(|scope| scope.as_ref().is_some_and(|scope| scope.is_rehearsal))
}

/// Checks that an input's halves are a rehearsal's two copies of the batch.
pub(crate) fn check_copies(x: &Tensor) -> Result<()> {
    if has_equal_halves(x)? { Ok(()) } else { Err(remembered(MonteCarloError::Mixed(x.size()))) }
}

/// An error for a layer to return, which the run remembers.
pub(super) fn remembered(error: MonteCarloError) -> Error {
    CURRENT.with_borrow_mut(|scope| {
        if let Some(scope) = scope {
            scope.error.get_or_insert_with(|| error.clone());
        }
    });
    error.into()
}

/// Whether the two halves of dimension 0 are equal, up to rounding, which may depend on a row's place.
fn has_equal_halves(x: &Tensor) -> Result<bool> {
    let rows = x.size().first().copied().unwrap_or(1);
    if rows % 2 != 0 {
        return Ok(false);
    }
    let tolerance = match x.kind() {
        Kind::Half | Kind::BFloat16 | Kind::ComplexHalf => 3e-2,
        _ => 1e-3,
    };
    let x = if x.is_complex() { x.f_resolve_conj()?.f_view_as_real()? } else { x.shallow_clone() };
    let kind = if x.device() == Device::Mps { Kind::Float } else { Kind::Double };
    let x = x.f_to_kind(kind)?;
    let (first, second) = (x.f_narrow(0, 0, rows / 2)?, x.f_narrow(0, rows / 2, rows / 2)?);
    // Compared with its column's largest number, so that a feature of large numbers hides no other; but a column may
    // be nothing but the rounding of larger ones.
    let largest = first.f_nan_to_num(0.0, 0.0, 0.0)?.f_abs()?.f_amax([0i64].as_slice(), true)?;
    let rounding = largest.f_max()?.f_mul_scalar(tolerance * 1e-3)?;
    let allowed = largest.f_mul_scalar(tolerance)?.f_maximum(&rounding)?;
    let close = first.f_sub(&second)?.f_abs()?.f_le_tensor(&allowed)?;
    let same = first
        .f_eq_tensor(&second)?
        .f_logical_or(&first.f_isnan()?.f_logical_and(&second.f_isnan()?)?)?;
    Ok(close.f_logical_or(&same)?.f_all()?.f_int64_value(&[])? == 1)
}

/// Records that a layer draws for an input of this shape, and returns how many passes lie side by side in
/// it.
pub(crate) fn record_draw(shape: &[i64]) -> Result<i64> {
    let passes = CURRENT.with_borrow_mut(|scope| match scope {
        Some(scope) => scope.record(shape),
        None => Ok(1),
    });
    passes.map_err(remembered)
}

impl Scope {
    fn record(&mut self, shape: &[i64]) -> std::result::Result<i64, MonteCarloError> {
        self.draws.push(shape.to_vec());
        let Some((passes, shapes)) = &self.folded else { return Ok(1) };
        if *passes > 1 && trace::is_tracing() {
            return Err(MonteCarloError::Traced);
        }
        let Some(single) = shapes.get(self.draws.len() - 1) else {
            let (single, folded) = (shapes.len(), self.draws.len());
            return Err(MonteCarloError::Draws { single, folded });
        };
        if is_folded_shape(shape, single, *passes) {
            return Ok(*passes);
        }
        let (single, folded) = (single.clone(), shape.to_vec());
        Err(MonteCarloError::NotFolded { single, folded, passes: *passes })
    }
}

/// Whether a shape is that of a single pass, with `passes` times the rows.
fn is_folded_shape(shape: &[i64], single: &[i64], passes: i64) -> bool {
    match (shape, single) {
        ([rows, rest @ ..], [single_rows, single_rest @ ..]) => {
            *rows == passes * single_rows && rest == single_rest
        }
        _ => false,
    }
}
