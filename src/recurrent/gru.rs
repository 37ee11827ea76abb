//! `Gru`: tch's GRU, with dropouts.

use std::borrow::Borrow;
use std::fmt;

use tch::{Tensor, nn};

use crate::error::Result;
use crate::recurrent::call::Call;
use crate::recurrent::cell::Cell;
use crate::recurrent::dropout::RecurrentDropout;
use crate::recurrent::masks::RecurrentMasks;
use crate::recurrent::rnn::RnnT;
use crate::recurrent::stack::Stack;
use crate::recurrent::weights::{Flat, Weights};
use crate::rng::streams::Streams;

/// The options of [`gru`].
///
/// ```
/// use tch::nn::RNNConfig;
/// use tch_dropout::{GruConfig, RecurrentDropout, Zoneout};
///
/// let zoneout = Zoneout::new(0.1)?;
/// let config = GruConfig {
///     rnn: RNNConfig { batch_first: false, ..Default::default() },
///     dropout: RecurrentDropout { zoneout, ..Default::default() },
/// };
/// # assert!(config.rnn.has_biases);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct GruConfig {
    /// tch's options. Its `dropout` must be 0, and its `train` is ignored; pass `train` with each call.
    pub rnn: nn::RNNConfig,
    /// The dropouts; without any by default.
    pub dropout: RecurrentDropout,
}

impl GruConfig {
    /// Gives each of the four dropouts the next of a model's streams, as [`RecurrentDropout::with_streams`] does.
    ///
    /// ```
    /// use tch_dropout::{GruConfig, Streams};
    ///
    /// let config = GruConfig::default().with_streams(&Streams::new(42))?;
    /// assert_eq!(config.dropout.zoneout.stream().map(|stream| stream.layer()), Some(3));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Streams::next_stream`].
    pub fn with_streams(self, streams: &Streams) -> Result<Self> {
        Ok(GruConfig { dropout: self.dropout.with_streams(streams)?, ..self })
    }
}

/// [`nn::GRU`] with dropouts: between the layers, of the recurrent weights, of the state, and zoneout.
/// [`gru`] makes one, and [`RnnT`] runs it.
///
/// For each time step, with the recurrent weights masked by weight drop, the mask `m` of the state (one for
/// all time steps), and the mask `d` of zoneout (1 where an element keeps its previous value):
///
/// ```text
/// r_x, z_x, n_x = W x + b                                 from the input
/// r_h, z_h, n_h = W_hh (m * h) + b_hh                     from the state
/// r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
/// h_new = (1 - z) * tanh(n_x + r * n_h) + z * h
/// h = d * h + (1 - d) * h_new
/// ```
///
/// Otherwise it works like [`Lstm`](crate::Lstm).
///
/// ```
/// use tch::{nn, Device, Kind, Tensor};
/// use tch_dropout::{GruConfig, RecurrentDropout, RnnT, TrueDropout, gru};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let state = TrueDropout::elements(0.25)?;
/// let dropout = RecurrentDropout { state, ..Default::default() };
/// let layer = gru(vs.root() / "gru", 8, 16, GruConfig { dropout, ..Default::default() })?;
/// let x = Tensor::randn([4, 10, 8], (Kind::Float, Device::Cpu));
/// let (output, _state) = layer.seq_t(&x, true);
/// assert_eq!(output.size(), [4, 10, 16]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`nn::GRU`]: https://docs.rs/tch/latest/tch/nn/struct.GRU.html
pub struct Gru {
    /// The dropouts.
    pub dropout: RecurrentDropout,
    stack: Stack,
}

/// Makes a [`Gru`] as [`nn::gru`] makes tch's, with the same variables under the same names: a `VarStore`
/// saves it as tch's GRU, and loads it from one.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::gru;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer = gru(vs.root() / "gru", 8, 16, Default::default())?;
/// assert!(vs.variables().contains_key("gru.weight_hh_l0"));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`lstm`](crate::lstm).
///
/// [`nn::gru`]: https://docs.rs/tch/latest/tch/nn/fn.gru.html
pub fn gru<'a, T: Borrow<nn::Path<'a>>>(
    vs: T,
    in_dim: i64,
    hidden_dim: i64,
    config: GruConfig,
) -> Result<Gru> {
    let GruConfig { rnn, dropout } = config;
    let stack = Stack::new::<Gru, 1>(vs.borrow(), in_dim, hidden_dim, &rnn)?;
    Ok(Gru { dropout, stack })
}

impl Gru {
    fn run(&self, x: &Tensor, state: &nn::GRUState, call: Call) -> Result<(Tensor, nn::GRUState)> {
        let (y, [h]) = self.stack.run(self, x, &[state.value()], call)?;
        Ok((y, nn::GRUState(h)))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, debug: bool) -> fmt::Result {
        write!(f, "Gru({}", self.stack.describe())?;
        self.dropout.write(f, debug)?;
        f.write_str(")")
    }
}

impl Cell<1> for Gru {
    const GATES: i64 = 3;
    const CUDNN_MODE: i64 = 3;

    fn dropout(&self) -> &RecurrentDropout {
        &self.dropout
    }

    fn is_zoned(&self) -> Result<bool> {
        Ok(!self.dropout.zoneout.noise.current_p()?.is_zero())
    }

    fn layer(x: &Tensor, [h]: &[Tensor; 1], weights: &Flat) -> Result<(Tensor, [Tensor; 1])> {
        let Flat { weights, has_biases, bidirectional } = weights;
        // With a dropout of 0, `train` only keeps what a gradient needs. Without it cuDNN computes none, and
        // gradients are wanted in evaluation, too.
        let (y, h) = x.f_gru(h, weights, *has_biases, 1, 0.0, true, *bidirectional, true)?;
        Ok((y, [h]))
    }

    fn packed_layer(
        x: &Tensor,
        batch_sizes: &Tensor,
        [h]: &[Tensor; 1],
        weights: &Flat,
    ) -> Result<(Tensor, [Tensor; 1])> {
        let Flat { weights, has_biases, bidirectional } = weights;
        let (y, h) = Tensor::f_gru_data(
            x,
            batch_sizes,
            h,
            weights,
            *has_biases,
            1,
            0.0,
            true,
            *bidirectional,
        )?;
        Ok((y, [h]))
    }

    fn step(from_input: &Tensor, from_state: &Tensor, [h]: &[Tensor; 1]) -> Result<[Tensor; 1]> {
        let (from_input, from_state) = (from_input.f_chunk(3, -1)?, from_state.f_chunk(3, -1)?);
        let reset = from_input[0].f_add(&from_state[0])?.f_sigmoid()?;
        let update = from_input[1].f_add(&from_state[1])?.f_sigmoid()?;
        let candidate = from_input[2].f_add(&reset.f_mul(&from_state[2])?)?.f_tanh()?;
        // (1 - z) * n + z * h
        Ok([h.f_sub(&candidate)?.f_mul(&update)?.f_add(&candidate)?])
    }

    fn fused_step(x: &Tensor, [h]: &[Tensor; 1], weights: &Weights) -> Result<[Tensor; 1]> {
        let (b_ih, b_hh) = weights.both_biases();
        Ok([x.f_gru_cell(h, &weights.ih, &weights.hh, b_ih, b_hh)?])
    }

    fn zoned(&self, [h]: &[Tensor; 1], [new]: [Tensor; 1], train: bool) -> Result<[Tensor; 1]> {
        Ok([self.dropout.zoneout.f_apply(h, &new, train)?])
    }
}

impl RnnT for Gru {
    type State = nn::GRUState;

    fn f_zero_state(&self, batch_dim: i64) -> Result<nn::GRUState> {
        Ok(nn::GRUState(self.stack.zeros(batch_dim)?))
    }

    fn f_seq_init_t(
        &self,
        x: &Tensor,
        state: &nn::GRUState,
        train: bool,
    ) -> Result<(Tensor, nn::GRUState)> {
        self.run(x, state, Call::new(train))
    }

    fn f_seq_lengths_t(
        &self,
        x: &Tensor,
        lengths: &[i64],
        state: &nn::GRUState,
        train: bool,
    ) -> Result<(Tensor, nn::GRUState)> {
        self.run(x, state, Call { lengths: Some(lengths), ..Call::new(train) })
    }

    fn f_draw_masks(&self, batch_dim: i64, train: bool) -> Result<RecurrentMasks> {
        self.stack.draw_masks(self, batch_dim, train)
    }

    fn f_step_with_t(
        &self,
        x: &Tensor,
        state: &nn::GRUState,
        masks: &RecurrentMasks,
        train: bool,
    ) -> Result<nn::GRUState> {
        let call = Call { masks: Some(masks), ..Call::new(train) };
        Ok(self.run(&self.stack.sequence_of_one(x)?, state, call)?.1)
    }

    fn f_seq_t(&self, x: &Tensor, train: bool) -> Result<(Tensor, nn::GRUState)> {
        self.f_seq_init_t(x, &nn::GRUState(self.stack.zeros_for(x)?), train)
    }

    fn f_step_t(&self, x: &Tensor, state: &nn::GRUState, train: bool) -> Result<nn::GRUState> {
        let (_, state) = self.f_seq_init_t(&self.stack.sequence_of_one(x)?, state, train)?;
        Ok(state)
    }
}

/// As PyTorch prints a layer, without the dropouts of `p = 0`:
/// `Gru(8, 16, num_layers=1, batch_first=true, bidirectional=false, zoneout=Zoneout(p=0.1))`.
impl fmt::Display for Gru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// As `Display`, with the numbers of each dropout's stream, if it has one.
impl fmt::Debug for Gru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}
