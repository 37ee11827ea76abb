//! Softmax and its gradient over a block: by one pass of this crate's on a CPU, else by libtorch's operations.

use tch::{Kind, Tensor};

use crate::cpu;
use crate::error::Result;

/// `e^(score - largest)` in place. Returns each query's largest score, or `floor` if that is larger, and the sum of its
/// powers.
pub(super) fn powers(scores: &mut Tensor, floor: f64) -> Result<[Tensor; 2]> {
    if let Some(found) = cpu::softmax::powers(scores, floor)? {
        return Ok(found);
    }
    let largest = scores.f_amax([-1i64].as_slice(), true)?.f_clamp_min_(floor)?;
    let _ = scores.f_sub_(&largest)?.f_exp_()?;
    let sums = scores.f_sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>)?;
    Ok([largest, sums])
}

/// `e^(score - log)`, in place and in `copy`.
pub(super) fn weights(scores: &mut Tensor, logs: &Tensor, copy: &mut Tensor) -> Result<()> {
    if !cpu::softmax::weights(scores, logs, copy) {
        copy.f_copy_(&scores.f_sub_(logs)?.f_exp_()?)?;
    }
    Ok(())
}

/// The gradient of the scores, in place of that of the dropped weights, `d`: `d dropped - w Σ d dropped`, with the sum
/// over a query's keys.
pub(super) fn of_scores(gradient: &mut Tensor, weights: &Tensor, dropped: &Tensor) -> Result<()> {
    if !cpu::softmax::of_scores(gradient, weights, dropped) {
        let _ = gradient.f_mul_(dropped)?;
        let mut sum = gradient.f_sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>)?;
        let _ = gradient.f_addcmul_(weights, &sum.f_neg_()?)?;
    }
    Ok(())
}
