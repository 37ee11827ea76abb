use tch::Tensor;

use crate::ambient;
use crate::error::{Error, Result};
use crate::prediction::{Accumulator, Prediction};

/// Monte Carlo dropout (Gal and Ghahramani 2016): a model's forward `passes` times over `x` with dropout
/// on, and what the passes agree and disagree on. [`MonteCarlo`] does the same with more to set.
///
/// The model is a classifier and gives logits; the softmax is taken here. It may be any `Fn(&Tensor, bool) -> Tensor`, and
/// a `ModuleT` is passed as `|x, train| model.forward_t(x, train)`.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{monte_carlo, NoiseShape, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 32, Default::default()))
///     .add_fn(|x| x.relu())
///     .add(TrueDropout::new(0.5)?.noise_shape(NoiseShape::Elements))
///     .add(nn::linear(vs.root() / "output", 32, 3, Default::default()));
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
///
/// let prediction = monte_carlo(|x, train| model.forward_t(x, train), &x, 50)?;
/// assert_eq!(prediction.mean.size(), [16, 3]);
/// assert_eq!(prediction.entropy.size(), [16]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// `passes` below 1, and those of [`MonteCarlo::predict`].
pub fn monte_carlo<F>(model: F, x: &Tensor, passes: i64) -> Result<Prediction>
where
    F: Fn(&Tensor, bool) -> Tensor,
{
    MonteCarlo::new(passes)?.predict(model, x)
}

/// How [`monte_carlo`] runs a model: in which batches, how many passes at once, in which mode.
///
/// # What is on and what is off
///
/// The model is called with `train` false, so batch norm and all else is in evaluation; only the layers
/// of this crate are awake, and draw as in training. That works for any model, whole `forward_t` models
/// included, but reaches only layers that run on the thread that called `predict`, and wakes each
/// of them, also one that the model itself always calls with `false`.
///
/// Libtorch's [`Tensor::dropout`] knows nothing of it. [`train(true)`](Self::train) is for models with
/// that.
///
/// # Folding
///
/// [`fold(n)`](Self::fold) runs `n` passes as one forward over `n` copies of the batch, side by side in
/// dimension 0. The distribution is the same: what the batch shares (a mask of columns, the weights of
/// [`DropConnect`](crate::DropConnect)) is still drawn once for each pass. A model must keep the batch
/// in dimension 0 for that, in front of all it calls layers with, though it may make several rows of
/// each, as in `[N, T, C]` to `[N * T, C]`. A mask that the model draws for a weight of its own would be
/// one for all folded passes: an error, if the weight requires a gradient, and for a frozen one yours to
/// avoid. A layer with a seed takes one step for each forward, and so
/// `passes / n` of them.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{MonteCarlo, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 32, Default::default()))
///     .add(nn::batch_norm1d(vs.root() / "norm", 32, Default::default())) // In evaluation.
///     .add(TrueDropout::new(0.5)?)
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
#[derive(Clone, Copy, Debug)]
pub struct MonteCarlo {
    passes: i64,
    fold: i64,
    batch_size: i64,
    train: bool,
}

impl MonteCarlo {
    /// So many passes, one after the other over all of the input.
    ///
    /// ```
    /// let error = tch_dropout::MonteCarlo::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "passes must be at least 1, got 0");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Count`] for fewer than one.
    pub fn new(passes: i64) -> Result<Self> {
        let passes = at_least_one("passes", passes)?;
        Ok(MonteCarlo { passes, fold: 1, batch_size: i64::MAX, train: false })
    }

    /// Rows of the input in one batch; all of them unless this says otherwise.
    ///
    /// ```
    /// let monte_carlo = tch_dropout::MonteCarlo::new(50)?.batch_size(256)?;
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Count`] for fewer than one.
    pub fn batch_size(self, rows: i64) -> Result<Self> {
        Ok(MonteCarlo { batch_size: at_least_one("batch_size", rows)?, ..self })
    }

    /// Passes that are folded into one forward; 1 unless this says otherwise. Saves time where the
    /// batch is small, and takes that many times the memory.
    ///
    /// ```
    /// let monte_carlo = tch_dropout::MonteCarlo::new(50)?.fold(10)?;
    /// assert!(monte_carlo.fold(51).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Count`] for fewer than one, [`Error::Fold`] for more than there are passes.
    pub fn fold(self, passes: i64) -> Result<Self> {
        let fold = at_least_one("fold", passes)?;
        if fold > self.passes {
            return Err(Error::Fold { fold, passes: self.passes });
        }
        Ok(MonteCarlo { fold, ..self })
    }

    /// What the model is called with; false unless this says otherwise.
    ///
    /// `true` switches on libtorch's own dropout. **It also puts batch norm into training**, which then
    /// normalises with the batch's statistics and *moves the running ones, for good*: libtorch has one
    /// flag for both. A model with libtorch's dropout and batch norm had better exchange the dropout
    /// for this crate's, or be called by a closure that gives each its own flag:
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

    /// Runs the model; records no gradient. The memory it takes does not grow with the passes.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, ...]`, of any kind and on any device, with whatever the model takes behind `N`; the
    /// model returns logits `[N, K]` of a floating-point kind, for two classes or more. (One logit for
    /// two classes: put a zero beside it.)
    ///
    /// # Errors
    ///
    /// An `x` without rows; an output that is no such logits; [`Error::NothingDrawn`] where, with `train`
    /// false, no layer drew a mask, as such a model would look certain of everything. With `train(true)`
    /// that cannot be told: there, no variance at all means that no dropout was on. A panic of the
    /// model's passes through.
    pub fn predict<F>(&self, model: F, x: &Tensor) -> Result<Prediction>
    where
        F: Fn(&Tensor, bool) -> Tensor,
    {
        if x.dim() == 0 || x.numel() == 0 {
            return Err(Error::NoRows(x.size()));
        }
        if ambient::folded() {
            return Err(Error::NestedFold);
        }
        let _no_grad = tch::no_grad_guard();
        let batches = x.f_split(self.batch_size.min(x.size()[0]), 0)?;
        let parts = batches.iter().map(|batch| self.predict_batch(&model, batch));
        Prediction::of_all(parts.collect::<Result<Vec<_>>>()?)
    }

    fn predict_batch<F>(&self, model: &F, batch: &Tensor) -> Result<Prediction>
    where
        F: Fn(&Tensor, bool) -> Tensor,
    {
        let rows = batch.size()[0];
        let copies = match self.fold {
            1 => batch.shallow_clone(),
            fold => Tensor::f_cat(&vec![batch; fold as usize], 0)?,
        };
        let mut passes = Accumulator::new(rows);
        for _ in 0..self.passes / self.fold {
            passes.push(self.run(model, &copies, self.fold)?)?;
        }
        let rest = self.passes % self.fold;
        if rest > 0 {
            passes.push(self.run(model, &copies.f_narrow(0, 0, rest * rows)?, rest)?)?;
        }
        passes.finish()
    }

    /// The logits `[fold * N, K]` of so many passes, from as many copies of the batch.
    fn run<F>(&self, model: &F, copies: &Tensor, fold: i64) -> Result<Tensor>
    where
        F: Fn(&Tensor, bool) -> Tensor,
    {
        let rows = copies.size()[0] / fold;
        let (logits, drew) = ambient::run(fold, rows, || model(copies, self.train));
        if !drew && !self.train {
            return Err(Error::NothingDrawn);
        }
        match logits.size()[..] {
            [n, k] if n == fold * rows && k >= 2 && logits.is_floating_point() => Ok(logits),
            _ => {
                Err(Error::Logits { rows: fold * rows, kind: logits.kind(), shape: logits.size() })
            }
        }
    }
}

fn at_least_one(name: &'static str, got: i64) -> Result<i64> {
    if got < 1 {
        return Err(Error::Count { name, got });
    }
    Ok(got)
}
