//! A stack of recurrent layers, and the way of a sequence through it.

use tch::{Kind, TchError, Tensor, nn};

use crate::error::{Error, Result};
use crate::mask::apply_mask;
use crate::recurrent::dropout::RecurrentDropout;
use crate::recurrent::weights::{Chunk, Weights, flat, variables};
use crate::strided::check_strided;
use crate::trace;

/// What differs between an LSTM and a GRU. A state is `S` tensors, of which the first is h.
pub(super) trait Cell<const S: usize> {
    /// How many gates there are.
    const GATES: i64;
    /// cuDNN's number for the cell.
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

/// A layer's weights as libtorch's operations take them.
pub(super) struct Flat {
    pub(super) weights: Vec<Tensor>,
    pub(super) has_biases: bool,
    pub(super) bidirectional: bool,
}

/// What a call asks for, besides a sequence and a state.
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

/// What the time steps of a sequence share, for a sequence that is run step by step: the dropped weights, the masks of the
/// state, and those between the layers. [`RnnT::f_draw_masks`](crate::RnnT::f_draw_masks) draws it.
#[derive(Debug)]
pub struct RecurrentMasks {
    /// How many sequences there are.
    rows: i64,
    layers: Vec<LayerMasks>,
}

#[derive(Debug)]
struct LayerMasks {
    /// Of its input, if all time steps share it.
    between: Option<Tensor>,
    /// Of each direction, after weight drop.
    weights: Vec<Weights>,
    /// Of each direction's state.
    states: Vec<Option<Tensor>>,
}

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
        let mut layers = Vec::new();
        for directions in variables(vs, in_dim, hidden_dim, C::GATES, config, biases)? {
            let chunk = Chunk::flatten(&directions, C::CUDNN_MODE)?;
            layers.push(Layer { directions, chunk });
        }
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
        self.check_masks(call.masks, x.size()[0])?;
        let mut last: [Vec<Tensor>; S] = std::array::from_fn(|_| Vec::new());
        for (index, of_layer) in (0..).zip(&self.layers) {
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
                Some(masks) => of_layer.run(cell, &x, &initial, masks, call)?,
                None => {
                    let masks = of_layer.draw(cell, &x, &initial[0], call.train)?;
                    of_layer.run(cell, &x, &initial, &masks, call)?
                }
            };
            x = y;
            last.iter_mut().zip(state).for_each(|(last, state)| last.push(state));
        }
        Ok((self.transposed_if_time_first(&x)?, each(&last, |all| cat(all, 0))?))
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
            layers.push(LayerMasks { between, ..layer.draw(cell, &x, &state, train)? });
        }
        Ok(RecurrentMasks { rows, layers })
    }

    /// Masks hold the weights of the layer that drew them.
    fn check_masks(&self, masks: Option<&RecurrentMasks>, rows: i64) -> Result<()> {
        let Some(masks) = masks else { return Ok(()) };
        let wrong = |expected: String, got: String| {
            Err(Error::Recurrent { name: "the masks", expected, got })
        };
        let weights = |all: &[Weights]| all.iter().map(|it| it.ih.data_ptr()).collect::<Vec<_>>();
        let drawn = masks.layers.iter().flat_map(|layer| weights(&layer.weights));
        if !drawn.eq(self.layers.iter().flat_map(|layer| weights(&layer.directions))) {
            return wrong("of this layer".into(), "those of another".into());
        }
        if masks.rows != rows {
            return wrong(format!("for {rows} sequences"), masks.rows.to_string());
        }
        Ok(())
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

/// One layer, of one direction or two.
struct Layer {
    directions: Vec<Weights>,
    /// On a GPU.
    chunk: Option<Chunk>,
}

impl Layer {
    /// What all time steps share. `h` is the first tensor of the state.
    fn draw<const S: usize>(
        &self,
        cell: &impl Cell<S>,
        x: &Tensor,
        h: &Tensor,
        train: bool,
    ) -> Result<LayerMasks> {
        let drop = &cell.dropout().weights;
        let mut weights = Vec::with_capacity(self.directions.len());
        for direction in &self.directions {
            weights.push(direction.with_hh(drop.masked(&direction.hh, x, train)?));
        }
        let mut states = Vec::with_capacity(self.directions.len());
        for h in h.f_unbind(0)? {
            states.push(cell.dropout().state.noise.draw_mask_if_active(&h, train)?);
        }
        Ok(LayerMasks { between: None, weights, states })
    }

    /// By libtorch's operation, unless something happens between the time steps.
    fn run<const S: usize, C: Cell<S>>(
        &self,
        cell: &C,
        x: &Tensor,
        state: &[Tensor; S],
        masks: &LayerMasks,
        call: Call,
    ) -> Result<(Tensor, [Tensor; S])> {
        let LayerMasks { weights: masked, states, .. } = masks;
        if states.iter().all(Option::is_none) && !cell.is_zoned()? && !masked[0].is_folded() {
            // cuDNN refuses a state with gaps.
            let (state, flat) = (each(state, Tensor::f_contiguous)?, self.flat(masked)?);
            return match call.lengths {
                Some(lengths) => packed::<S, C>(x, lengths, &state, &flat),
                None => C::layer(x, &state, &flat),
            };
        }

        let live = call.lengths.map(|lengths| live(x, lengths)).transpose()?;
        let x = x.f_transpose(0, 1)?;
        // What stands in padding must not reach a gradient: 0 times NaN is NaN.
        let x = match &live {
            Some(live) => x.f_where_self(live, &x.f_zeros_like()?)?,
            None => x,
        };
        let mut outputs = Vec::with_capacity(masked.len());
        let mut last: [Vec<Tensor>; S] = std::array::from_fn(|_| Vec::new());
        for (index, (direction, mask)) in (0..).zip(masked.iter().zip(states)) {
            let initial = each(state, |t| t.f_get(index))?;
            let walk = Walk {
                weights: direction,
                mask: mask.as_ref(),
                live: live.as_ref(),
                backward: index == 1,
            };
            let (y, state) = walk.run(cell, &x, initial, call.train)?;
            outputs.push(y);
            for (last, state) in last.iter_mut().zip(state) {
                last.push(state.f_unsqueeze(0)?);
            }
        }
        let y = cat(&outputs, -1)?.f_transpose(0, 1)?;
        Ok((y, each(&last, |all| cat(all, 0))?))
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

/// How a sequence goes through one layer and direction, time step by time step.
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
        let Walk { weights, mask, live, backward } = *self;
        let is_fused = x.device().is_cuda() && mask.is_none() && !weights.is_folded();
        let inputs = if is_fused { x.shallow_clone() } else { weights.input_gates(x)? };
        let inputs = inputs.f_unbind(0)?;
        let mut outputs = Vec::with_capacity(inputs.len());
        for step in 0..inputs.len() {
            let time = if backward { inputs.len() - 1 - step } else { step };
            let new = match mask {
                None if is_fused => C::fused_step(&inputs[time], &state, weights)?,
                None => C::step(&inputs[time], &weights.state_gates(&state[0])?, &state)?,
                Some(mask) => {
                    let masked = apply_mask(&state[0], mask)?;
                    C::step(&inputs[time], &weights.state_gates(&masked)?, &state)?
                }
            };
            let mut new = cell.zoned(&state, new, train)?;
            let Some(live) = live else {
                outputs.push(new[0].shallow_clone());
                state = new;
                continue;
            };
            let live = live.f_get(time as i64)?;
            outputs.push(new[0].f_where_self(&live, &new[0].f_zeros_like()?)?);
            for (new, old) in new.iter_mut().zip(&state) {
                *new = new.f_where_self(&live, old)?;
            }
            state = new;
        }
        if backward {
            outputs.reverse();
        }
        Ok((Tensor::f_stack(&outputs, 0)?, state))
    }
}

/// Which sequences have each time step, `[T, N, 1]`, for an `x` of `[N, T, C]`.
fn live(x: &Tensor, lengths: &[i64]) -> Result<Tensor> {
    let (rows, steps, _) = x.size3()?;
    let lengths = Tensor::f_from_slice(lengths)?.f_to_device(x.device())?.f_view([1, rows, 1])?;
    let times = Tensor::f_arange(steps, (Kind::Int64, x.device()))?.f_view([steps, 1, 1])?;
    Ok(times.f_lt_tensor(&lengths)?)
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

/// `x` is `[N, T, C]`.
fn check_lengths(lengths: Option<&[i64]>, x: &Tensor) -> Result<()> {
    let Some(lengths) = lengths else { return Ok(()) };
    let (rows, steps, _) = x.size3()?;
    let expected = if trace::is_tracing() {
        "absent in a model that is being traced".into()
    } else if lengths.len() as i64 == rows && lengths.iter().all(|it| (1..=steps).contains(it)) {
        return Ok(());
    } else {
        format!("{rows} numbers from 1 to {steps}")
    };
    Err(Error::Recurrent { name: "lengths", expected, got: format!("{lengths:?}") })
}

/// One tensor of several. A single one is not copied.
fn cat(all: &[Tensor], dim: i64) -> std::result::Result<Tensor, TchError> {
    match all {
        [one] => Ok(one.shallow_clone()),
        _ => Tensor::f_cat(all, dim),
    }
}

/// The same for each tensor of a state.
fn each<T, const S: usize>(
    state: &[T; S],
    f: impl Fn(&T) -> std::result::Result<Tensor, TchError>,
) -> Result<[Tensor; S]> {
    let mapped = state.iter().map(f).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(mapped.try_into().expect("as many as there were"))
}

/// Checks a configuration before a variable is made. Returns how the biases begin, if there are any.
fn checked_biases(
    in_dim: i64,
    hidden_dim: i64,
    config: &nn::RNNConfig,
) -> Result<Option<(nn::Init, nn::Init)>> {
    let wrong =
        |name, expected: &str, got| Err(Error::Recurrent { name, expected: expected.into(), got });
    let counts =
        [("in_dim", in_dim), ("hidden_dim", hidden_dim), ("num_layers", config.num_layers)];
    for (name, count) in counts {
        if count < 1 {
            return wrong(name, "at least 1", count.to_string());
        }
    }
    if config.dropout != 0.0 {
        let expected = "0 (set RecurrentDropout's `between` instead)";
        return wrong("RNNConfig's dropout", expected, format!("{:?}", config.dropout));
    }
    match (config.has_biases, config.b_ih_init, config.b_hh_init) {
        (false, ..) => Ok(None),
        (true, Some(ih), Some(hh)) => Ok(Some((ih, hh))),
        (true, ..) => {
            let expected = "given if has_biases is true";
            wrong("RNNConfig's b_ih_init and b_hh_init", expected, "None".into())
        }
    }
}

/// Reports operands that libtorch cannot multiply. Autocast may make their kinds equal.
fn check_operands(x: &Tensor, weight: &Tensor) -> Result<()> {
    if x.kind() != weight.kind() || x.device() != weight.device() {
        let _ = x.f_narrow(0, 0, 0)?.f_linear(weight, None::<&Tensor>)?;
    }
    Ok(())
}

fn wrong_shape(name: &'static str, expected: String, got: &Tensor) -> Error {
    let (expected, got) = (format!("of shape {expected}"), format!("{:?}", got.size()));
    Error::Recurrent { name, expected, got }
}
