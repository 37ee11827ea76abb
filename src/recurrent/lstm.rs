//! `Lstm`: tch's LSTM, with dropouts.

use std::borrow::Borrow;
use std::fmt;

use tch::{Tensor, nn};

use crate::error::Result;
use crate::recurrent::call::Call;
use crate::recurrent::cell::Cell;
use crate::recurrent::dropout::{RecurrentDropout, write_dropout};
use crate::recurrent::masks::RecurrentMasks;
use crate::recurrent::rnn::RnnT;
use crate::recurrent::stack::Stack;
use crate::recurrent::weights::{Flat, Weights};
use crate::recurrent::zoneout::Zoneout;
use crate::rng::streams::Streams;

/// The options of [`lstm`].
///
/// ```
/// use tch::nn::RNNConfig;
/// use tch_dropout::{LstmConfig, RecurrentDropout, TrueDropout};
///
/// // torch.nn.LSTM(num_layers=2, dropout=0.3)
/// let between = TrueDropout::elements(0.3)?;
/// let config = LstmConfig {
///     rnn: RNNConfig { num_layers: 2, ..Default::default() },
///     dropout: RecurrentDropout { between, ..Default::default() },
///     ..Default::default()
/// };
/// # assert!(config.rnn.has_biases);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LstmConfig {
    /// tch's options. Its `dropout` must be 0, and its `train` is ignored; pass `train` with each call.
    pub rnn: nn::RNNConfig,
    /// The dropouts; without any by default.
    pub dropout: RecurrentDropout,
    /// Zoneout of the cell state `c`; that of `h` is in `dropout`. `p = 0` by default.
    pub cell_zoneout: Zoneout,
}

impl LstmConfig {
    /// Gives each of the five dropouts the next of a model's streams: those of `dropout`, and `cell_zoneout`.
    ///
    /// ```
    /// use tch_dropout::{LstmConfig, Streams};
    ///
    /// let config = LstmConfig::default().with_streams(&Streams::new(42))?;
    /// assert_eq!(config.cell_zoneout.stream().map(|stream| stream.layer()), Some(4));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Streams::next_stream`].
    pub fn with_streams(self, streams: &Streams) -> Result<Self> {
        let dropout = self.dropout.with_streams(streams)?;
        Ok(LstmConfig { dropout, cell_zoneout: self.cell_zoneout.with_streams(streams)?, ..self })
    }
}

impl Default for LstmConfig {
    fn default() -> Self {
        LstmConfig {
            rnn: Default::default(),
            dropout: Default::default(),
            cell_zoneout: Zoneout::new(0.0).expect("0 is a probability"),
        }
    }
}

/// [`nn::LSTM`] with dropouts: between the layers, of the recurrent weights, of the state, and zoneout.
/// [`lstm`] makes one, and [`RnnT`] runs it.
///
/// For each time step, with the recurrent weights masked by weight drop, the mask `m` of the state (one for
/// all time steps), and the masks `d` of zoneout (1 where an element keeps its previous value):
///
/// ```text
/// i, f, g, o = W x + b + W_hh (m * h) + b_hh              four gates
/// c_new = sigmoid(f) * c + sigmoid(i) * tanh(g)
/// h_new = sigmoid(o) * tanh(c_new)
/// c, h = d_c * c + (1 - d_c) * c_new, d_h * h + (1 - d_h) * h_new
/// ```
///
/// In evaluation there are no masks, and each `d` is its mean `p`, as in the paper of zoneout. Under
/// [`monte_carlo`](crate::monte_carlo) all is as in training.
///
/// If a layer is bidirectional, each direction has masks of its own, and `between` drops from the outputs of
/// both. Without any dropout the outputs are those of [`nn::LSTM`]. Dropout between layers and weight drop
/// leave a whole layer to libtorch's own operation; dropout of the state in training, and zoneout in training
/// and evaluation, take a loop over time steps, which is slower. Like [`nn::LSTM`], the layer holds tensors,
/// and so is `Send` but not `Sync`.
///
/// ```
/// use tch::{nn, Device, Kind, Tensor};
/// use tch_dropout::{LstmConfig, RecurrentDropout, RnnT, WeightDrop, lstm};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let weights = WeightDrop::new(0.5)?;
/// let dropout = RecurrentDropout { weights, ..Default::default() };
/// let layer = lstm(vs.root() / "lstm", 8, 16, LstmConfig { dropout, ..Default::default() })?;
/// let x = Tensor::randn([4, 10, 8], (Kind::Float, Device::Cpu));
/// let (output, state) = layer.seq_t(&x, true);
/// assert_eq!(output.size(), [4, 10, 16]);
/// let (output, _) = layer.seq_init_t(&x, &state, true); // goes on where the sequence ended
/// layer.dropout.weights.set_p(0.3)?;
/// # assert_eq!(output.size(), [4, 10, 16]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`nn::LSTM`]: https://docs.rs/tch/latest/tch/nn/struct.LSTM.html
pub struct Lstm {
    /// The dropouts that a [`Gru`](crate::Gru) has, too.
    pub dropout: RecurrentDropout,
    /// Zoneout of the cell state.
    pub cell_zoneout: Zoneout,
    stack: Stack,
}

/// Makes an [`Lstm`] as [`nn::lstm`] makes tch's, with the same variables under the same names: a `VarStore`
/// saves it as tch's LSTM, and loads it from one.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::lstm;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer = lstm(vs.root() / "lstm", 8, 16, Default::default())?;
/// assert!(vs.variables().contains_key("lstm.weight_hh_l0"));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// An `in_dim`, a `hidden_dim` or a number of layers below 1; an [`nn::RNNConfig`] with a `dropout`, or with
/// biases but without their initial values. Then nothing is added to the `VarStore`.
///
/// [`nn::RNNConfig`]: https://docs.rs/tch/latest/tch/nn/struct.RNNConfig.html
/// [`nn::lstm`]: https://docs.rs/tch/latest/tch/nn/fn.lstm.html
pub fn lstm<'a, T: Borrow<nn::Path<'a>>>(
    vs: T,
    in_dim: i64,
    hidden_dim: i64,
    config: LstmConfig,
) -> Result<Lstm> {
    let LstmConfig { rnn, dropout, cell_zoneout } = config;
    let stack = Stack::new::<Lstm, 2>(vs.borrow(), in_dim, hidden_dim, &rnn)?;
    Ok(Lstm { dropout, cell_zoneout, stack })
}

impl Lstm {
    fn run(
        &self,
        x: &Tensor,
        state: &nn::LSTMState,
        call: Call,
    ) -> Result<(Tensor, nn::LSTMState)> {
        let (y, [h, c]) = self.stack.run(self, x, &[state.h(), state.c()], call)?;
        Ok((y, nn::LSTMState((h, c))))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, debug: bool) -> fmt::Result {
        write!(f, "Lstm({}", self.stack.describe())?;
        self.dropout.write(f, debug)?;
        write_dropout(f, "cell_zoneout", self.cell_zoneout.p(), &self.cell_zoneout, debug)?;
        f.write_str(")")
    }
}

impl Cell<2> for Lstm {
    const GATES: i64 = 4;
    const CUDNN_MODE: i64 = 2;

    fn dropout(&self) -> &RecurrentDropout {
        &self.dropout
    }

    fn is_zoned(&self) -> Result<bool> {
        let (h, c) = (&self.dropout.zoneout.noise, &self.cell_zoneout.noise);
        Ok(!h.current_p()?.is_zero() || !c.current_p()?.is_zero())
    }

    fn layer(x: &Tensor, state: &[Tensor; 2], weights: &Flat) -> Result<(Tensor, [Tensor; 2])> {
        let Flat { weights, has_biases, bidirectional } = weights;
        // With a dropout of 0, `train` only keeps what a gradient needs. Without it cuDNN computes none, and
        // gradients are wanted in evaluation, too.
        let (y, h, c) =
            x.f_lstm(state, weights, *has_biases, 1, 0.0, true, *bidirectional, true)?;
        Ok((y, [h, c]))
    }

    fn packed_layer(
        x: &Tensor,
        batch_sizes: &Tensor,
        state: &[Tensor; 2],
        weights: &Flat,
    ) -> Result<(Tensor, [Tensor; 2])> {
        let Flat { weights, has_biases, bidirectional } = weights;
        let (y, h, c) = Tensor::f_lstm_data(
            x,
            batch_sizes,
            state,
            weights,
            *has_biases,
            1,
            0.0,
            true,
            *bidirectional,
        )?;
        Ok((y, [h, c]))
    }

    fn step(from_input: &Tensor, from_state: &Tensor, [_, c]: &[Tensor; 2]) -> Result<[Tensor; 2]> {
        let gates = from_input.f_add(from_state)?.f_chunk(4, -1)?;
        let (input, forget) = (gates[0].f_sigmoid()?, gates[1].f_sigmoid()?);
        let (candidate, output) = (gates[2].f_tanh()?, gates[3].f_sigmoid()?);
        let c_new = forget.f_mul(c)?.f_add(&input.f_mul(&candidate)?)?;
        let h_new = output.f_mul(&c_new.f_tanh()?)?;
        Ok([h_new, c_new])
    }

    fn fused_step(x: &Tensor, state: &[Tensor; 2], weights: &Weights) -> Result<[Tensor; 2]> {
        let (b_ih, b_hh) = weights.both_biases();
        let state = state.each_ref();
        let (h, c) = x.f_lstm_cell(&state, &weights.ih, &weights.hh, b_ih, b_hh)?;
        Ok([h, c])
    }

    fn zoned(
        &self,
        [h, c]: &[Tensor; 2],
        [h_new, c_new]: [Tensor; 2],
        train: bool,
    ) -> Result<[Tensor; 2]> {
        let h = self.dropout.zoneout.f_apply(h, &h_new, train)?;
        Ok([h, self.cell_zoneout.f_apply(c, &c_new, train)?])
    }
}

impl RnnT for Lstm {
    type State = nn::LSTMState;

    fn f_zero_state(&self, batch_dim: i64) -> Result<nn::LSTMState> {
        let zeros = self.stack.zeros(batch_dim)?;
        Ok(nn::LSTMState((zeros.shallow_clone(), zeros)))
    }

    fn f_seq_init_t(
        &self,
        x: &Tensor,
        state: &nn::LSTMState,
        train: bool,
    ) -> Result<(Tensor, nn::LSTMState)> {
        self.run(x, state, Call::new(train))
    }

    fn f_seq_lengths_t(
        &self,
        x: &Tensor,
        lengths: &[i64],
        state: &nn::LSTMState,
        train: bool,
    ) -> Result<(Tensor, nn::LSTMState)> {
        self.run(x, state, Call { lengths: Some(lengths), ..Call::new(train) })
    }

    fn f_draw_masks(&self, batch_dim: i64, train: bool) -> Result<RecurrentMasks> {
        self.stack.draw_masks(self, batch_dim, train)
    }

    fn f_step_with_t(
        &self,
        x: &Tensor,
        state: &nn::LSTMState,
        masks: &RecurrentMasks,
        train: bool,
    ) -> Result<nn::LSTMState> {
        let call = Call { masks: Some(masks), ..Call::new(train) };
        Ok(self.run(&self.stack.sequence_of_one(x)?, state, call)?.1)
    }

    fn f_seq_t(&self, x: &Tensor, train: bool) -> Result<(Tensor, nn::LSTMState)> {
        let zeros = self.stack.zeros_for(x)?;
        self.f_seq_init_t(x, &nn::LSTMState((zeros.shallow_clone(), zeros)), train)
    }

    fn f_step_t(&self, x: &Tensor, state: &nn::LSTMState, train: bool) -> Result<nn::LSTMState> {
        let (_, state) = self.f_seq_init_t(&self.stack.sequence_of_one(x)?, state, train)?;
        Ok(state)
    }
}

/// As PyTorch prints a layer, without the dropouts of `p = 0`:
/// `Lstm(8, 16, num_layers=1, batch_first=true, bidirectional=false, weights=WeightDrop(p=0.5))`.
impl fmt::Display for Lstm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// As `Display`, with the numbers of each dropout's stream, if it has one.
impl fmt::Debug for Lstm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}
