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
use crate::autograd::{setting, with_gradient, with_inputs};
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
            return by_definition(&job, of_y, all, needed);
        }
        let logs = logs.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone();
        backward::backward(&job, all, &logs, of_y, needed)
    })
}

/// The gradients in a graph of their own, which has higher derivatives: there the weights are kept.
fn by_definition(
    job: &Job,
    of_y: &Tensor,
    all: &[Tensor],
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    // Views, at which the pass below ends: one input may have been computed from another.
    let all = all.iter().map(|x| Ok(x.f_view_as(x)?)).collect::<Result<Vec<_>>>()?;
    let [query, key, value] = [0, 1, 2].map(|i| &all[i]);
    let dropout = |weights: &Tensor| product(&job.mask, weights, None);
    let y = job.formula.attend([query, key, value], all.get(3), dropout)?.y;
    let root = with_gradient(y, of_y)?;
    let wanted = all.iter().zip(needed).filter_map(|(x, &needed)| needed.then_some(x));
    let wanted: Vec<&Tensor> = wanted.collect();
    let mut found = Tensor::f_run_backward(&[root], &wanted, true, true)?.into_iter();
    Ok(needed.iter().map(|&needed| if needed { found.next() } else { None }).collect())
}
