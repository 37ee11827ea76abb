//! A stack of recurrent layers, and the way of a sequence through it.

use tch::{Tensor, nn};

use crate::error::{Error, Result};
use crate::mask::apply_mask;
use crate::recurrent::call::Call;
use crate::recurrent::cell::Cell;
use crate::recurrent::checks::{check_lengths, check_operands, checked_biases, wrong_shape};
use crate::recurrent::dropout::RecurrentDropout;
use crate::recurrent::layer::Layer;
use crate::recurrent::masks::{LayerMasks, RecurrentMasks};
use crate::recurrent::state::{States, each};
use crate::recurrent::weights::{Weights, variables};
use crate::strided::check_strided;
use crate::trace;

/// The layers.
pub(super) struct Stack {
    layers: Vec<Layer>,
    batch_first: bool,
}

impl Stack {
    pub(super) fn new<C: Cell<S>, const S: usize>(
        vs: &nn::Path,
        in_dim: i64,
        hidden_dim: i64,
        config: &nn::RNNConfig,
    ) -> Result<Self> {
        let biases = checked_biases(in_dim, hidden_dim, config)?;
        let variables = variables(vs, in_dim, hidden_dim, C::GATES, config, biases)?;
        let layer = |directions| Layer::new(directions, C::CUDNN_MODE);
        let layers = variables.into_iter().map(layer).collect::<Result<_>>()?;
        Ok(Stack { layers, batch_first: config.batch_first })
    }

    fn in_dim(&self) -> i64 {
        self.layers[0].directions[0].ih.size()[1]
    }

    fn hidden_dim(&self) -> i64 {
        self.layers[0].directions[0].hh.size()[1]
    }

    fn directions(&self) -> i64 {
        self.layers[0].directions.len() as i64
    }

    /// How many layers there are, of all directions.
    fn depth(&self) -> i64 {
        self.layers.len() as i64 * self.directions()
    }

    pub(super) fn zeros(&self, batch_dim: i64) -> Result<Tensor> {
        let weight = &self.layers[0].directions[0].hh;
        let size = [self.depth(), batch_dim, self.hidden_dim()];
        Ok(Tensor::f_zeros(size, (weight.kind(), weight.device()))?)
    }

    /// A state of zeros for this sequence.
    pub(super) fn zeros_for(&self, x: &Tensor) -> Result<Tensor> {
        self.check_sequence(x)?;
        let x = self.transposed_if_time_first(x)?;
        if !trace::is_tracing() {
            return self.zeros(x.size()[0]);
        }
        // Made from the input, so that the trace takes batches of any size.
        let zero = x.f_select(1, 0)?.f_slice(1, 0, 1, 1)?.f_zeros_like()?;
        let zero = zero.f_to_kind(self.layers[0].directions[0].hh.kind())?;
        Ok(zero.f_repeat([self.depth(), 1, self.hidden_dim()])?)
    }

    /// The sequence of length 1 for the input `[N, in_dim]` of one time step.
    pub(super) fn sequence_of_one(&self, x: &Tensor) -> Result<Tensor> {
        check_strided(x)?;
        if !matches!(x.size()[..], [_, features] if features == self.in_dim()) {
            return Err(wrong_shape("x", format!("[N, {}]", self.in_dim()), x));
        }
        Ok(x.f_unsqueeze(if self.batch_first { 1 } else { 0 })?)
    }

    /// The outputs for a sequence, and the state after it.
    pub(super) fn run<const S: usize>(
        &self,
        cell: &impl Cell<S>,
        x: &Tensor,
        state: &[Tensor; S],
        call: Call,
    ) -> Result<(Tensor, [Tensor; S])> {
        self.check(x, state)?;
        self.check_noise_shapes(cell.dropout(), x)?;
        let state = &self.checked_in_trace(x, state)?;
        let mut x = self.transposed_if_time_first(x)?;
        check_lengths(call.lengths, &x)?;
        if let Some(masks) = call.masks {
            masks.check(self.layers.iter().map(|layer| &layer.directions[..]), x.size()[0])?;
        }
        let mut last = States::new();
        for (index, layer) in (0..).zip(&self.layers) {
            let drawn = call.masks.map(|masks| &masks.layers[index as usize]);
            if index > 0 {
                x = match drawn.and_then(|drawn| drawn.between.as_ref()) {
                    Some(mask) => apply_mask(&x, mask)?,
                    None => cell.dropout().between.f_forward_t(&x, call.train)?,
                };
            }
            let width = self.directions();
            let initial = each(state, |t| t.f_narrow(0, index * width, width))?;
            let (y, state) = match drawn {
                Some(masks) => layer.run(cell, &x, &initial, masks, call)?,
                None => {
                    let (weights, h) = (&layer.directions, &initial[0]);
                    let masks = LayerMasks::draw(cell, weights, &x, h, call.train)?;
                    layer.run(cell, &x, &initial, &masks, call)?
                }
            };
            x = y;
            last.push(state);
        }
        Ok((self.transposed_if_time_first(&x)?, last.join()?))
    }

    /// What the time steps of a sequence share, for a batch of this size: in the order in which a sequence draws it.
    pub(super) fn draw_masks<const S: usize>(
        &self,
        cell: &impl Cell<S>,
        rows: i64,
        train: bool,
    ) -> Result<RecurrentMasks> {
        let dropout = cell.dropout();
        let zeros = self.zeros(rows)?;
        let step = |features| {
            Ok::<_, Error>(zeros.f_new_zeros([rows, 1, features], (zeros.kind(), zeros.device()))?)
        };
        let width = self.directions() * self.hidden_dim();
        self.check_noise_shapes(dropout, &self.transposed_if_time_first(&step(self.in_dim())?)?)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in (0..).zip(&self.layers) {
            let x = step(if index == 0 { self.in_dim() } else { width })?;
            let is_shared = index > 0 && dropout.between.noise_shape().shared_dims(3)[1];
            let between = match is_shared {
                true => dropout.between.noise.draw_mask_if_active(&x, train)?,
                false => None,
            };
            let state = zeros.f_narrow(0, index * self.directions(), self.directions())?;
            let own = LayerMasks::draw(cell, &layer.directions, &x, &state, train)?;
            layers.push(LayerMasks { between, ..own });
        }
        Ok(RecurrentMasks { rows, layers })
    }

    /// Inside, sequences are `[N, T, C]`: Monte Carlo dropout folds its passes into dimension 0.
    fn transposed_if_time_first(&self, x: &Tensor) -> Result<Tensor> {
        if self.batch_first { Ok(x.shallow_clone()) } else { Ok(x.f_transpose(0, 1)?) }
    }

    /// Checks everything that could fail later, so that an error takes no step.
    fn check<const S: usize>(&self, x: &Tensor, state: &[Tensor; S]) -> Result<()> {
        self.check_sequence(x)?;
        let rows = x.size()[if self.batch_first { 0 } else { 1 }];
        let expected = [self.depth(), rows, self.hidden_dim()];
        let Weights { ih, hh, .. } = &self.layers[0].directions[0];
        check_operands(x, ih)?;
        for tensor in state {
            check_strided(tensor)?;
            if tensor.size() != expected {
                return Err(wrong_shape(
                    "each tensor of the state",
                    format!("{expected:?}"),
                    tensor,
                ));
            }
            check_operands(tensor, hh)?;
        }
        Ok(())
    }

    /// The state, and in a trace a check of its size for each call: with a state for another batch, libtorch's
    /// operations read beyond it.
    fn checked_in_trace<const S: usize>(
        &self,
        x: &Tensor,
        state: &[Tensor; S],
    ) -> Result<[Tensor; S]> {
        if !trace::is_tracing() {
            return each(state, |t| Ok(t.shallow_clone()));
        }
        let zeros = self.zeros_for(x)?;
        each(state, |t| t.f_expand_as(&zeros)?.f_contiguous())
    }

    fn check_sequence(&self, x: &Tensor) -> Result<()> {
        check_strided(x)?;
        let time = if self.batch_first { 1 } else { 0 };
        let size = x.size();
        if size.len() == 3 && size[2] == self.in_dim() && size[time] > 0 {
            return Ok(());
        }
        let batch = if self.batch_first { "N, T" } else { "T, N" };
        Err(wrong_shape("x", format!("[{batch}, {}] with T >= 1", self.in_dim()), x))
    }

    fn check_noise_shapes(&self, dropout: &RecurrentDropout, x: &Tensor) -> Result<()> {
        let (rows, steps, _) = self.transposed_if_time_first(x)?.size3()?;
        if self.layers.len() > 1 {
            let features = self.directions() * self.hidden_dim();
            dropout.between.noise_shape().resolve(&[rows, steps, features])?;
        }
        dropout.state.noise_shape().resolve(&[rows, self.hidden_dim()])?;
        Ok(())
    }

    /// As PyTorch prints it, up to the dropouts: `8, 16, num_layers=2, batch_first=true`.
    pub(super) fn describe(&self) -> String {
        let (inputs, hidden, layers) = (self.in_dim(), self.hidden_dim(), self.layers.len());
        let (first, two) = (self.batch_first, self.directions() == 2);
        format!("{inputs}, {hidden}, num_layers={layers}, batch_first={first}, bidirectional={two}")
    }
}
