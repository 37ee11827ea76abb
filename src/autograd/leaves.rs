//! The leaves of a graph: the tensors that something was computed from, and which need a gradient.

use std::ffi::c_void;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::tell::{Tell, tell};
use crate::error::{CheckpointError, Result};

/// A leaf, and where libtorch has it: tch has no identity for tensors.
struct Leaf {
    tensor: Tensor,
    id: usize,
}

/// The leaves that a result was computed from.
pub(crate) struct Leaves(Vec<Leaf>);

/// A moment on this thread: what is recorded afterwards is newer.
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        Moment(tch_dropout_next_node())
    }
}

impl Leaves {
    /// Those of `y`, which was computed since then from `inputs`, without these. `inputs` are leaves too.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Captured`] if `y` depends on a tensor that was computed before.
    pub(crate) fn of(y: &Tensor, inputs: &[&Tensor], since: &Moment) -> Result<Self> {
        let with_gradient = inputs.iter().filter(|input| input.requires_grad());
        let inputs: Vec<_> = with_gradient.map(|input| input.as_ptr()).collect();
        let mut leaves: Vec<Leaf> = Vec::new();
        let [mut outside, mut error] = [String::new(), String::new()];
        // SAFETY: segment.cpp defines it with these parameters. It reads the tensors during the call, which their references
        // outlive, and passes each function the list or the `String` that is borrowed here with it.
        let worked = unsafe {
            tch_dropout_leaves(
                y.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                since.0,
                take,
                (&raw mut leaves).cast(),
                tell,
                (&raw mut outside).cast(),
                tell,
                (&raw mut error).cast(),
            )
        };
        match (worked, outside.is_empty()) {
            (false, _) => Err(TchError::Torch(error).into()),
            (true, false) => Err(CheckpointError::Captured(outside).into()),
            (true, true) => Ok(Leaves(leaves)),
        }
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().map(|leaf| &leaf.tensor)
    }

    /// What tells the tensors apart, in an order that depends on the graph alone.
    pub(crate) fn ids(&self) -> Vec<usize> {
        self.0.iter().map(|leaf| leaf.id).collect()
    }
}

unsafe extern "C" {
    safe fn tch_dropout_next_node() -> u64;

    fn tch_dropout_leaves(
        y: *const C_tensor,
        inputs: *const *const C_tensor,
        count: usize,
        since: u64,
        give: unsafe extern "C" fn(to: *mut c_void, tensor: *mut C_tensor, id: *const c_void),
        leaves: *mut c_void,
        outside: Tell,
        name: *mut c_void,
        tell: Tell,
        to: *mut c_void,
    ) -> bool;
}

unsafe extern "C" fn take(to: *mut c_void, tensor: *mut C_tensor, id: *const c_void) {
    // SAFETY: segment.cpp passes on the `to` that it got from `Leaves::of`, a list that is borrowed until it returns, and
    // makes the tensor by `new at::Tensor`, which nobody else has and tch deletes.
    unsafe {
        let leaf = Leaf { tensor: Tensor::from_ptr(tensor), id: id as usize };
        (*to.cast::<Vec<Leaf>>()).push(leaf);
    }
}
