//! How a model is run.

use crate::error::{MonteCarloError, Result};

/// How [`monte_carlo`](crate::monte_carlo()) runs a model: how many passes, in which batches, how many at once, in which
/// mode. What the model returns decides the call: logits are for [`predict`](Self::predict), probabilities for
/// [`predict_probabilities`](Self::predict_probabilities), values for [`regress`](Self::regress).
///
/// # What is on and what is off
///
/// The model is called with `train` false, so batch norm and everything else is in evaluation; only this
/// crate's layers draw, as in training. This works for any model, including one built as a single `forward_t`
/// module. It affects every layer that runs on the calling thread, even one that the model always calls with
/// `false`, and none on other threads.
///
/// It does not affect libtorch's own [`Tensor::dropout`]. For a model that uses that, set
/// [`train(true)`](Self::train).
///
/// # Folding
///
/// [`fold(n)`](Self::fold) runs the first pass by itself, and then `n` passes at a time, as one call of the
/// model on `n` copies of the batch, side by side in dimension 0. The distribution is the same: what the
/// batch shares (a mask of columns, the weights of [`DropConnect`](crate::DropConnect)) is still drawn once
/// per pass.
///
/// Wherever the model calls a layer, the batch must be in dimension 0. The model may split each row into
/// several, as from `[N, T, C]` to `[N * T, C]`. It must not mix rows, as to `[T * N, C]`, where they share a draw, nor
/// compute one row from others, as by a mean over the batch, nor from the row's place. Two checks find most mistakes:
///
/// - Each layer's input is compared with that of the first pass. If dimension 0 has not grown by a factor of the
///   number of passes (as when the layer is applied to a weight), the layer returns an error.
/// - After the first batch, the model is called once more, on two copies of that batch with `train` false, and
///   nothing is dropped. It is an error if its output is not the same for both copies; and a layer whose draw rows share
///   (of columns, say) returns one if its input is not. So a model that draws random numbers by itself needs fold 1.
///
/// A layer's `forward_t` panics with these errors. One that the model does not pass on is returned after its call.
/// What rows compute from each other's masks no check finds. A layer with a seed takes one step per call, and so
/// fewer than one per pass. A model that traces itself needs fold 1.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{MonteCarlo, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 32, Default::default()))
///     .add(nn::batch_norm1d(vs.root() / "norm", 32, Default::default())) // In evaluation.
///     .add(TrueDropout::elements(0.5)?)
///     .add(nn::linear(vs.root() / "output", 32, 3, Default::default()));
/// let x = Tensor::randn([1_000, 8], (Kind::Float, Device::Cpu));
///
/// let prediction = MonteCarlo::new(50)?
///     .batch_size(256)?
///     .fold(10)?
///     .predict(|x, train| model.forward_t(x, train), &x)?;
/// assert_eq!(prediction.variance.size(), [1_000, 3]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Recipes
///
/// **Several inputs**: let the rows' numbers be the input, `Tensor::arange(n, (Kind::Int64, device))`; the model looks up
/// each input's rows, `a.index_select(0, rows)`, and what else belongs to a row, such as a sequence's length. **Each pass's
/// output**: with fold 1, the closure can push `y.shallow_clone()` to a list. **The same networks for all batches**: masks
/// that the batch shares (DropConnect, or `shared(p, &[0])`), and a call for each batch, with the streams set back before
/// it:
///
/// ```
/// use tch::{nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{MonteCarlo, Streams, TrueDropout};
///
/// let streams = Streams::new(42);
/// let layer = TrueDropout::shared(0.5, &[0])?.with_streams(&streams)?;
/// let x = Tensor::randn([100, 3], (Kind::Float, Device::Cpu));
/// let start = streams.steps();
/// for batch in x.split(32, 0) {
///     streams.set_steps(&start)?;
///     let prediction = MonteCarlo::new(50)?.predict(|x, train| layer.forward_t(x, train), &batch)?;
/// }
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`Tensor::dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.dropout
#[derive(Clone, Copy, Debug)]
pub struct MonteCarlo {
    pub(super) passes: i64,
    pub(super) fold: i64,
    pub(super) batch_size: i64,
    pub(super) train: bool,
    pub(super) class_dim: i64,
}

impl MonteCarlo {
    /// This many passes, one after the other over the whole input.
    ///
    /// ```
    /// let error = tch_dropout::MonteCarlo::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "passes must be at least 1, got 0");
    /// ```
    ///
    /// # Errors
    ///
    /// [`MonteCarloError::Count`] for fewer than one.
    pub fn new(passes: i64) -> Result<Self> {
        let passes = at_least_one("passes", passes)?;
        Ok(MonteCarlo { passes, fold: 1, batch_size: i64::MAX, train: false, class_dim: 1 })
    }

    /// How many rows of the input one batch has; all of them by default.
    ///
    /// ```
    /// let monte_carlo = tch_dropout::MonteCarlo::new(50)?.batch_size(256)?;
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MonteCarloError::Count`] for fewer than one.
    pub fn batch_size(self, rows: i64) -> Result<Self> {
        Ok(MonteCarlo { batch_size: at_least_one("batch_size", rows)?, ..self })
    }

    /// How many passes are folded into one call of the model; 1 by default. This saves time if the batch is
    /// small, and takes that many times the memory.
    ///
    /// ```
    /// let monte_carlo = tch_dropout::MonteCarlo::new(50)?.fold(10)?;
    /// assert!(monte_carlo.fold(51).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MonteCarloError::Count`] for fewer than one, [`MonteCarloError::Fold`] for more than there are
    /// passes.
    pub fn fold(self, passes: i64) -> Result<Self> {
        let fold = at_least_one("fold", passes)?;
        if fold > self.passes {
            return Err(MonteCarloError::Fold { fold, passes: self.passes }.into());
        }
        Ok(MonteCarlo { fold, ..self })
    }

    /// The flag that the model is called with; false by default.
    ///
    /// `true` turns on libtorch's own dropout. **It also puts batch norm into training**, which then
    /// normalises by the batch's statistics and *permanently changes the running statistics*: libtorch has one
    /// flag for both. If a model has libtorch's dropout and batch norm, replace its dropout with
    /// [`dropout`](crate::dropout()), or give each its own flag in a closure:
    ///
    /// ```
    /// use tch::{nn, nn::{Module, ModuleT}, Device, Kind, Tensor};
    /// use tch_dropout::MonteCarlo;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let norm = nn::batch_norm1d(vs.root() / "norm", 8, Default::default());
    /// let linear = nn::linear(vs.root() / "output", 8, 3, Default::default());
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// let prediction = MonteCarlo::new(50)?.train(true).predict(
    ///     |x, train| linear.forward(&norm.forward_t(x, false).dropout(0.5, train)),
    ///     &x,
    /// )?;
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn train(self, train: bool) -> Self {
        MonteCarlo { train, ..self }
    }

    /// In which dimension of the model's output the classes are; 1 by default. A negative one counts from the end: -1 for
    /// a language model's `[N, T, K]`.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{MonteCarlo, TrueDropout};
    ///
    /// let layer = TrueDropout::elements(0.5)?;
    /// let x = Tensor::randn([4, 10, 3], (Kind::Float, Device::Cpu)); // [N, T, K]
    /// let monte_carlo = MonteCarlo::new(50)?.class_dim(-1);
    /// let prediction = monte_carlo.f_predict(|x, train| layer.f_forward_t(x, train), &x)?;
    /// assert_eq!(prediction.entropy.size(), [4, 10]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn class_dim(self, dim: i64) -> Self {
        MonteCarlo { class_dim: dim, ..self }
    }
}

fn at_least_one(name: &'static str, got: i64) -> Result<i64> {
    if got < 1 {
        return Err(MonteCarloError::Count { name, got }.into());
    }
    Ok(got)
}
