//! What can go wrong in a checkpoint.

/// The errors of [`checkpoint`](crate::checkpoint()). [`Changed`](Self::Changed) and
/// [`SecondDerivative`](Self::SecondDerivative) occur in the backward pass, where `f_backward` returns them as the text
/// of a [`TchError`].
///
/// ```
/// # #[cfg(feature = "recompute")] {
/// use tch::Tensor;
/// use tch_dropout::{CheckpointError, Error, f_checkpoint};
///
/// let w = Tensor::from(2.0).set_requires_grad(true);
/// let square = &w * &w;
/// let x = Tensor::from(1.0);
/// let error = f_checkpoint(move |x| Ok(x * &square), &x).unwrap_err();
/// assert!(matches!(error, Error::Checkpoint(CheckpointError::Captured(_))));
/// # }
/// ```
///
/// [`TchError`]: https://docs.rs/tch/latest/tch/enum.TchError.html
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A tensor with a history, which the segment uses and is not given.
    #[error(
        "the segment uses a tensor that was computed outside of it (by {0}): make it an input, or detach it"
    )]
    Captured(String),

    /// A segment that did something else when it was run again.
    #[error("a segment must do the same each time, but when it was run again, {0}")]
    Changed(&'static str),

    /// A segment that writes to its input, and so would get another one in the backward pass.
    #[error("a segment must not modify its input in place, since it is run again with that input")]
    ModifiesInput,

    /// A forward or backward pass on a thread that holds the module's lock, for which it would wait forever.
    #[error(
        "this thread holds the lock of the checkpoint's module, for which it would wait forever: drop what \
         `lock()` returned first"
    )]
    Locked,

    /// A backward pass with `create_graph`.
    #[error(
        "a checkpoint has no second derivative: run the backward pass without create_graph, or the \
         segment without a checkpoint"
    )]
    SecondDerivative,
}
