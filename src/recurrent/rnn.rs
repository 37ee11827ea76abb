//! tch's `nn::RNN`, with `train`.

use std::fmt;

use tch::Tensor;

use crate::error::{Result, or_panic_in};

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

    /// The state after one time step: that of [`f_seq_init_t`](Self::f_seq_init_t) for a sequence of length 1.
    /// Masks that a sequence's time steps share are drawn anew in each call.
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
}
