//! tch's `nn::RNN`, with `train`.

use std::fmt;

use tch::Tensor;

use crate::error::{Result, or_panic_in};
use crate::recurrent::masks::RecurrentMasks;

/// Like [`nn::RNN`], but each call takes `train`, as in [`nn::ModuleT`]. (tch's
/// layers take it from their `RNNConfig` when they are made, so their dropout stays on in evaluation.)
///
/// The state is tch's own: [`LSTMState`] or [`GRUState`]. Its tensors
/// are `[D * num_layers, N, H]`, where `D` is 2 if the layer is bidirectional and 1 if not.
///
/// ```
/// use tch::{nn, Device, Kind, Tensor};
/// use tch_dropout::{RnnT, gru, lstm};
///
/// /// Classifies sequences by the last output.
/// fn logits(rnn: &impl RnnT, head: &nn::Linear, x: &Tensor, train: bool) -> Tensor {
///     let (output, _state) = rnn.seq_t(x, train);
///     output.select(1, -1).apply(head)
/// }
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let head = nn::linear(vs.root() / "head", 16, 3, Default::default());
/// let x = Tensor::randn([4, 10, 8], (Kind::Float, Device::Cpu));
/// let lstm = lstm(vs.root() / "lstm", 8, 16, Default::default())?;
/// let gru = gru(vs.root() / "gru", 8, 16, Default::default())?;
/// assert_eq!(logits(&lstm, &head, &x, true).size(), [4, 3]);
/// assert_eq!(logits(&gru, &head, &x, false).size(), [4, 3]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`GRUState`]: https://docs.rs/tch/latest/tch/nn/struct.GRUState.html
/// [`LSTMState`]: https://docs.rs/tch/latest/tch/nn/struct.LSTMState.html
/// [`nn::ModuleT`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html
/// [`nn::RNN`]: https://docs.rs/tch/latest/tch/nn/trait.RNN.html
pub trait RnnT: fmt::Display {
    /// The state that goes from one time step to the next.
    type State;

    /// A state of zeros for a batch of this size, with which a sequence usually begins.
    ///
    /// # Errors
    ///
    /// libtorch's, for a negative size.
    fn f_zero_state(&self, batch_dim: i64) -> Result<Self::State>;

    /// The outputs for a sequence that begins with a given state, and the state after its last time step.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, T, in_dim]`, or `[T, N, in_dim]` if `batch_first` is false. The outputs are the same with
    /// `D * hidden_dim` in the last dimension.
    ///
    /// # Errors
    ///
    /// An `x` or a state of another shape, or without time steps; libtorch's, for another kind or device than
    /// the weights'. Then no layer of the dropout has taken a step.
    fn f_seq_init_t(
        &self,
        x: &Tensor,
        state: &Self::State,
        train: bool,
    ) -> Result<(Tensor, Self::State)>;

    /// [`f_seq_init_t`](Self::f_seq_init_t), beginning with zeros.
    ///
    /// # Errors
    ///
    /// Those of [`f_seq_init_t`](Self::f_seq_init_t).
    fn f_seq_t(&self, x: &Tensor, train: bool) -> Result<(Tensor, Self::State)>;

    /// [`f_seq_init_t`](Self::f_seq_init_t) of sequences of different lengths, which lie in one batch with padding behind
    /// them. Each runs as it would by itself: padded time steps change no state, and their outputs are 0.
    ///
    /// It is what `pack_padded_sequence` is for in PyTorch, in any order of the lengths.
    ///
    /// Under [`MonteCarlo`](crate::MonteCarlo) with batches or folded passes, the model is given a part of the input, or
    /// copies of it, and the lengths of the whole input are an error: let the model
    /// [look up](crate::MonteCarlo#recipes) those of its rows.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::{RnnT, gru};
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = gru(vs.root(), 8, 16, Default::default())?;
    /// let x = Tensor::randn([3, 10, 8], (Kind::Float, Device::Cpu));
    /// let (output, _state) = layer.seq_lengths_t(&x, &[7, 10, 2], &layer.zero_state(3), true);
    /// assert_eq!(output.get(2).narrow(0, 2, 8).count_nonzero(None).int64_value(&[]), 0);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`f_seq_init_t`](Self::f_seq_init_t); another number of lengths than sequences, or one that is not from 1 to
    /// the number of time steps; a model that is being traced.
    fn f_seq_lengths_t(
        &self,
        x: &Tensor,
        lengths: &[i64],
        state: &Self::State,
        train: bool,
    ) -> Result<(Tensor, Self::State)>;

    /// What the time steps of a sequence share, for [`f_step_with_t`](Self::f_step_with_t): dropped weights, the masks of the
    /// state, and those between the layers where they are shared over time (locked dropout).
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::{GruConfig, RecurrentDropout, RnnT, TrueDropout, gru};
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let dropout = RecurrentDropout { state: TrueDropout::elements(0.25)?, ..Default::default() };
    /// let layer = gru(vs.root(), 8, 16, GruConfig { dropout, ..Default::default() })?;
    ///
    /// let mut state = layer.zero_state(4);
    /// let masks = layer.draw_masks(4, true); // One for all steps of the sequence.
    /// for _ in 0..10 {
    ///     let x = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
    ///     state = layer.step_with_t(&x, &state, &masks, true);
    /// }
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// Draw new ones for the next sequence, and after each backward pass, as dropped weights are in its graph. They drop
    /// whatever `train` a step has.
    ///
    /// # Errors
    ///
    /// A noise shape that does not fit; libtorch's, for a negative size.
    fn f_draw_masks(&self, batch_dim: i64, train: bool) -> Result<RecurrentMasks>;

    /// [`f_step_t`](Self::f_step_t) with masks that were drawn before. What each time step draws by itself is new: zoneout,
    /// and dropout between the layers that is not shared over time.
    ///
    /// # Errors
    ///
    /// Those of [`f_step_t`](Self::f_step_t), and for masks of another layer, or for another number of sequences.
    fn f_step_with_t(
        &self,
        x: &Tensor,
        state: &Self::State,
        masks: &RecurrentMasks,
        train: bool,
    ) -> Result<Self::State>;

    /// The state after one time step: that of [`f_seq_init_t`](Self::f_seq_init_t) for a sequence of length 1.
    /// Masks that a sequence's time steps share are drawn anew in each call: for one that they share, see
    /// [`f_draw_masks`](Self::f_draw_masks).
    ///
    /// # Shapes
    ///
    /// `x` is `[N, in_dim]`.
    ///
    /// # Errors
    ///
    /// Those of [`f_seq_init_t`](Self::f_seq_init_t).
    fn f_step_t(&self, x: &Tensor, state: &Self::State, train: bool) -> Result<Self::State>;

    /// Like [`f_zero_state`](Self::f_zero_state), but panics on an error.
    #[track_caller]
    fn zero_state(&self, batch_dim: i64) -> Self::State {
        or_panic_in(self, self.f_zero_state(batch_dim))
    }

    /// Like [`f_seq_init_t`](Self::f_seq_init_t), but panics on an error.
    #[track_caller]
    fn seq_init_t(&self, x: &Tensor, state: &Self::State, train: bool) -> (Tensor, Self::State) {
        or_panic_in(self, self.f_seq_init_t(x, state, train))
    }

    /// Like [`f_seq_t`](Self::f_seq_t), but panics on an error.
    #[track_caller]
    fn seq_t(&self, x: &Tensor, train: bool) -> (Tensor, Self::State) {
        or_panic_in(self, self.f_seq_t(x, train))
    }

    /// Like [`f_step_t`](Self::f_step_t), but panics on an error.
    #[track_caller]
    fn step_t(&self, x: &Tensor, state: &Self::State, train: bool) -> Self::State {
        or_panic_in(self, self.f_step_t(x, state, train))
    }

    /// Like [`f_seq_lengths_t`](Self::f_seq_lengths_t), but panics on an error.
    #[track_caller]
    fn seq_lengths_t(
        &self,
        x: &Tensor,
        lengths: &[i64],
        state: &Self::State,
        train: bool,
    ) -> (Tensor, Self::State) {
        or_panic_in(self, self.f_seq_lengths_t(x, lengths, state, train))
    }

    /// Like [`f_draw_masks`](Self::f_draw_masks), but panics on an error.
    #[track_caller]
    fn draw_masks(&self, batch_dim: i64, train: bool) -> RecurrentMasks {
        or_panic_in(self, self.f_draw_masks(batch_dim, train))
    }

    /// Like [`f_step_with_t`](Self::f_step_with_t), but panics on an error.
    #[track_caller]
    fn step_with_t(
        &self,
        x: &Tensor,
        state: &Self::State,
        masks: &RecurrentMasks,
        train: bool,
    ) -> Self::State {
        or_panic_in(self, self.f_step_with_t(x, state, masks, train))
    }
}
