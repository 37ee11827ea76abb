//! How a sequence goes through a layer time step by time step, where something happens between them.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::mask::apply_mask;
use crate::recurrent::call::Call;
use crate::recurrent::cell::Cell;
use crate::recurrent::masks::LayerMasks;
use crate::recurrent::state::{States, cat, each};
use crate::recurrent::weights::Weights;

/// The outputs of a layer for `x`, `[N, T, C]`, and the state after it.
pub(super) fn walk<const S: usize, C: Cell<S>>(
    cell: &C,
    x: &Tensor,
    state: &[Tensor; S],
    masks: &LayerMasks,
    call: Call,
) -> Result<(Tensor, [Tensor; S])> {
    let live = call.lengths.map(|lengths| live(x, lengths)).transpose()?;
    let x = x.f_transpose(0, 1)?;
    // What stands in padding must not reach a gradient: 0 times NaN is NaN.
    let x = match &live {
        Some(live) => x.f_where_self(live, &x.f_zeros_like()?)?,
        None => x,
    };
    let mut outputs = Vec::with_capacity(masks.weights.len());
    let mut last = States::new();
    for (index, (weights, mask)) in (0..).zip(masks.weights.iter().zip(&masks.states)) {
        let walk = Walk { weights, mask: mask.as_ref(), live: live.as_ref(), backward: index == 1 };
        let initial = each(state, |t| t.f_get(index))?;
        let (y, state) = walk.run(cell, &x, initial, call.train)?;
        outputs.push(y);
        last.push(each(&state, |t| t.f_unsqueeze(0))?);
    }
    Ok((cat(&outputs, -1)?.f_transpose(0, 1)?, last.join()?))
}

/// Which sequences have each time step, `[T, N, 1]`, for an `x` of `[N, T, C]`.
fn live(x: &Tensor, lengths: &[i64]) -> Result<Tensor> {
    let (rows, steps, _) = x.size3()?;
    let lengths = Tensor::f_from_slice(lengths)?.f_to_device(x.device())?.f_view([1, rows, 1])?;
    let times = Tensor::f_arange(steps, (Kind::Int64, x.device()))?.f_view([steps, 1, 1])?;
    Ok(times.f_lt_tensor(&lengths)?)
}

/// The way through one direction.
struct Walk<'a> {
    weights: &'a Weights,
    /// Of the state.
    mask: Option<&'a Tensor>,
    /// Which sequences have each time step, `[T, N, 1]`; all of them by default.
    live: Option<&'a Tensor>,
    backward: bool,
}

impl Walk<'_> {
    /// `x` is `[T, N, C]`, and so are the outputs.
    fn run<const S: usize, C: Cell<S>>(
        &self,
        cell: &C,
        x: &Tensor,
        mut state: [Tensor; S],
        train: bool,
    ) -> Result<(Tensor, [Tensor; S])> {
        let is_fused = x.device().is_cuda() && self.mask.is_none() && !self.weights.is_folded();
        let inputs = if is_fused { x.shallow_clone() } else { self.weights.input_gates(x)? };
        let inputs = inputs.f_unbind(0)?;
        let mut outputs = Vec::with_capacity(inputs.len());
        for step in 0..inputs.len() {
            let time = if self.backward { inputs.len() - 1 - step } else { step };
            let new = match is_fused {
                true => C::fused_step(&inputs[time], &state, self.weights)?,
                false => C::step(&inputs[time], &self.state_gates(&state[0])?, &state)?,
            };
            let new = cell.zoned(&state, new, train)?;
            let output;
            (output, state) = self.padded(time as i64, &state, new)?;
            outputs.push(output);
        }
        if self.backward {
            outputs.reverse();
        }
        Ok((Tensor::f_stack(&outputs, 0)?, state))
    }

    /// The state's part of the gates.
    fn state_gates(&self, h: &Tensor) -> Result<Tensor> {
        match self.mask {
            Some(mask) => self.weights.state_gates(&apply_mask(h, mask)?),
            None => self.weights.state_gates(h),
        }
    }

    /// The output of a time step and the state after it: 0 and the old one for sequences that do not have it.
    fn padded<const S: usize>(
        &self,
        time: i64,
        old: &[Tensor; S],
        mut new: [Tensor; S],
    ) -> Result<(Tensor, [Tensor; S])> {
        let mut output = new[0].shallow_clone();
        if let Some(live) = self.live {
            let live = live.f_get(time)?;
            output = output.f_where_self(&live, &output.f_zeros_like()?)?;
            for (new, old) in new.iter_mut().zip(old) {
                *new = new.f_where_self(&live, old)?;
            }
        }
        Ok((output, new))
    }
}
