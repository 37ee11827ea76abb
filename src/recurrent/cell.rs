//! What differs between an LSTM and a GRU.

use tch::Tensor;

use crate::error::Result;
use crate::recurrent::dropout::RecurrentDropout;
use crate::recurrent::weights::{Flat, Weights};

/// One of the two. A state is `S` tensors, of which the first is h.
pub(super) trait Cell<const S: usize> {
    /// How many gates there are.
    const GATES: i64;
    /// cuDNN's number for the cell: 2 for an LSTM, 3 for a GRU.
    const CUDNN_MODE: i64;

    fn dropout(&self) -> &RecurrentDropout;

    /// Whether any zoneout has `p > 0`.
    fn is_zoned(&self) -> Result<bool>;

    /// A whole layer, by libtorch's own operation.
    fn layer(x: &Tensor, state: &[Tensor; S], weights: &Flat) -> Result<(Tensor, [Tensor; S])>;

    /// The same for packed sequences, `[steps of all, C]`, with the number of sequences that have each time step.
    fn packed_layer(
        x: &Tensor,
        batch_sizes: &Tensor,
        state: &[Tensor; S],
        weights: &Flat,
    ) -> Result<(Tensor, [Tensor; S])>;

    /// The new state of one time step, from the two parts of the gates, each `[N, GATES * H]`.
    fn step(from_input: &Tensor, from_state: &Tensor, state: &[Tensor; S]) -> Result<[Tensor; S]>;

    /// The same by libtorch's operation, which on a GPU has a kernel for all that follows the products.
    fn fused_step(x: &Tensor, state: &[Tensor; S], weights: &Weights) -> Result<[Tensor; S]>;

    /// The state after one time step, from the previous and the new one.
    fn zoned(&self, previous: &[Tensor; S], new: [Tensor; S], train: bool) -> Result<[Tensor; S]>;
}
