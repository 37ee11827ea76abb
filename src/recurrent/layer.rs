//! One layer of a stack.

use tch::Tensor;

use crate::error::Result;
use crate::recurrent::call::Call;
use crate::recurrent::cell::Cell;
use crate::recurrent::masks::LayerMasks;
use crate::recurrent::state::each;
use crate::recurrent::walk::walk;
use crate::recurrent::weights::{Chunk, Flat, Weights, flat};

/// One layer, of one direction or two.
pub(super) struct Layer {
    pub(super) directions: Vec<Weights>,
    /// On a GPU.
    chunk: Option<Chunk>,
}

impl Layer {
    pub(super) fn new(directions: Vec<Weights>, cudnn_mode: i64) -> Result<Self> {
        let chunk = Chunk::flatten(&directions, cudnn_mode)?;
        Ok(Layer { directions, chunk })
    }

    /// The outputs for `x`, `[N, T, C]`, and the state after it: by libtorch's operation, unless something happens between
    /// the time steps.
    pub(super) fn run<const S: usize, C: Cell<S>>(
        &self,
        cell: &C,
        x: &Tensor,
        state: &[Tensor; S],
        masks: &LayerMasks,
        call: Call,
    ) -> Result<(Tensor, [Tensor; S])> {
        let LayerMasks { weights, states, .. } = masks;
        if states.iter().any(Option::is_some) || cell.is_zoned()? || weights[0].is_folded() {
            return walk(cell, x, state, masks, call);
        }
        // cuDNN refuses a state with gaps.
        let (state, flat) = (each(state, Tensor::f_contiguous)?, self.flat(weights)?);
        match call.lengths {
            Some(lengths) => packed::<S, C>(x, lengths, &state, &flat),
            None => C::layer(x, &state, &flat),
        }
    }

    /// The weights for libtorch's operation. Dropped ones no longer lie in cuDNN's chunk with the others.
    fn flat(&self, masked: &[Weights]) -> Result<Flat> {
        let is_dropped = masked[0].hh.data_ptr() != self.directions[0].hh.data_ptr();
        let weights = match &self.chunk {
            Some(chunk) if is_dropped => chunk.filled(&flat(masked))?,
            _ => flat(masked),
        };
        let (has_biases, bidirectional) = (masked[0].biases.is_some(), masked.len() == 2);
        Ok(Flat { weights, has_biases, bidirectional })
    }
}

/// A whole layer by libtorch's operation, over sequences of these lengths. It takes the longest first.
fn packed<const S: usize, C: Cell<S>>(
    x: &Tensor,
    lengths: &[i64],
    state: &[Tensor; S],
    weights: &Flat,
) -> Result<(Tensor, [Tensor; S])> {
    let mut order: Vec<i64> = (0..).take(lengths.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(lengths[row as usize]));
    let sorted: Vec<i64> = order.iter().map(|&row| lengths[row as usize]).collect();
    let order = Tensor::f_from_slice(&order)?.f_to_device(x.device())?;
    let back = order.f_argsort(0, false)?;
    let steps = x.size()[1];
    let (x, batch_sizes) = x
        .f_index_select(0, &order)?
        .f_internal_pack_padded_sequence(&Tensor::f_from_slice(&sorted)?, true)?;
    let state = each(state, |t| t.f_index_select(1, &order))?;
    let (y, state) = C::packed_layer(&x, &batch_sizes, &state, weights)?;
    let (y, _) = Tensor::f_internal_pad_packed_sequence(&y, &batch_sizes, true, 0.0, steps)?;
    Ok((y.f_index_select(0, &back)?, each(&state, |t| t.f_index_select(1, &back))?))
}
