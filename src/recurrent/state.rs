//! The tensors of a state.

use tch::{TchError, Tensor};

use crate::error::Result;

/// The same for each tensor of a state.
pub(super) fn each<T, const S: usize>(
    state: &[T; S],
    f: impl Fn(&T) -> std::result::Result<Tensor, TchError>,
) -> Result<[Tensor; S]> {
    let mapped = state.iter().map(f).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(mapped.try_into().expect("as many as there were"))
}

/// The states of several layers, or of several directions, to be joined.
pub(super) struct States<const S: usize>([Vec<Tensor>; S]);

impl<const S: usize> States<S> {
    pub(super) fn new() -> Self {
        States(std::array::from_fn(|_| Vec::new()))
    }

    pub(super) fn push(&mut self, state: [Tensor; S]) {
        self.0.iter_mut().zip(state).for_each(|(all, one)| all.push(one));
    }

    /// One after the other, in dimension 0.
    pub(super) fn join(&self) -> Result<[Tensor; S]> {
        each(&self.0, |all| cat(all, 0))
    }
}

/// One tensor of several. A single one is not copied.
pub(super) fn cat(all: &[Tensor], dim: i64) -> std::result::Result<Tensor, TchError> {
    match all {
        [one] => Ok(one.shallow_clone()),
        _ => Tensor::f_cat(all, dim),
    }
}
