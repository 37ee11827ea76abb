//! What a call asks for, besides a sequence and a state.

use crate::recurrent::masks::RecurrentMasks;

#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) train: bool,
    /// How many time steps each sequence has; all of them by default.
    pub(super) lengths: Option<&'a [i64]>,
    /// Masks that were drawn before. By default, new ones are drawn.
    pub(super) masks: Option<&'a RecurrentMasks>,
}

impl Call<'_> {
    pub(super) fn new(train: bool) -> Self {
        Call { train, lengths: None, masks: None }
    }
}
