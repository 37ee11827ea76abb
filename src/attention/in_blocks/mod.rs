//! Attention that keeps no weights: a block of queries at a time, as in flash attention (Dao et al. 2022).
//!
//! | file | what it knows |
//! | --- | --- |
//! | `job` | what is computed, and which blocks it has |
//! | `scores` | a block's scores, in memory that the next block reuses |
//! | `softmax` | softmax and its gradient over a block |
//! | `forward` | what the queries find, and one logarithm of a sum for each |
//! | `backward` | the gradients, from the same weights and the same mask, computed again |
//! | `team` | which thread does what |
//!
//! A block has all keys that its queries see. So its softmax is whole at once, and the sum over a query's keys that
//! the gradient needs is a sum over a row. Each block's mask is a part of the layer's mask, which a counter defines.

mod backward;
mod forward;
pub(crate) mod job;
mod scores;
mod softmax;
mod team;

use std::sync::{Mutex, PoisonError};

use tch::{Device, Tensor};

use self::job::{Job, block_of};
use super::definition::Formula;
use crate::autograd::{gradients_in_graph, setting, with_inputs};
use crate::error::Result;
use crate::implicit_mask::ImplicitMask;
use crate::product::product;
use crate::trace;

/// Whether blocks can compute this, and are faster than the definition.
pub(super) fn pays(inputs: [&Tensor; 3], bias: Option<&Tensor>) -> bool {
    let [query, key, _] = inputs;
    let (kind, device) = (query.kind(), query.device());
    let length = |x: &Tensor| x.size()[x.dim() - 2] as usize;
    let is_here = |x: &Tensor| x.device() == device;
    length(query) * length(key) > block_of(device)
        && inputs.iter().all(|x| x.kind() == kind && is_here(x) && x.numel() > 0)
        && bias.is_none_or(is_here)
        && (device == Device::Cpu || device.is_cuda())
        && !setting::is_autocast()
        && !trace::is_tracing()
}

/// `mask(softmax(query · keyᵀ · scale + bias)) · value`, in a graph that keeps the inputs, and one number for each
/// query.
pub(super) fn attend(
    formula: Formula,
    mask: ImplicitMask,
    inputs: [&Tensor; 3],
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let job = Job::new(formula, mask, inputs);
    let all: Vec<&Tensor> = inputs.into_iter().chain(bias).collect();
    let (y, logs) = forward::forward(&job, &all)?;
    let logs = Mutex::new(logs);
    with_inputs(&all, y, move |of_y, all, needed| {
        if setting::is_recorded() {
            // There the weights are kept.
            let definition = |all: &[Tensor]| {
                let dropout = |weights: &Tensor| product(&job.mask, weights, None);
                Ok(job.formula.attend([0, 1, 2].map(|i| &all[i]), all.get(3), dropout)?.y)
            };
            return gradients_in_graph(definition, of_y, all, needed);
        }
        let logs = logs.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone();
        backward::backward(&job, all, &logs, of_y, needed)
    })
}
