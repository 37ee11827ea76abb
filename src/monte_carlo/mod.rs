//! Monte Carlo dropout: many passes of a model with dropout on, and how much they disagree.

mod prediction;
pub(crate) mod scope;

use tch::{Kind, Tensor};

use self::prediction::{Accumulator, Moments, Output};
use self::scope::Shapes;
use crate::error::{Error, MonteCarloError, Result};
use crate::strided::check_strided;

pub use self::prediction::{Prediction, Regression};

/// Predicts classes and their uncertainty, by `passes` forward passes with dropout on (Gal and Ghahramani
/// 2016). The whole input is one batch; [`MonteCarlo`] has more options, and regression.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{monte_carlo, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::linear(vs.root() / "hidden", 8, 32, Default::default()))
///     .add_fn(|x| x.relu())
///     .add(TrueDropout::elements(0.5)?)
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
    F: FnMut(&Tensor, bool) -> Tensor,
{
    MonteCarlo::new(passes)?.predict(model, x)
}

/// Like [`monte_carlo`], for a model that returns a `Result`.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{f_monte_carlo, TrueDropout};
///
/// let layer = TrueDropout::columns(0.5)?;
/// let vectors = Tensor::ones([3], (Kind::Float, Device::Cpu));
/// let error = f_monte_carlo(|x, train| layer.f_forward_t(x, train), &vectors, 50).unwrap_err();
/// assert!(error.to_string().starts_with("noise shape `columns` needs"));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`monte_carlo`], and the model's.
pub fn f_monte_carlo<F>(model: F, x: &Tensor, passes: i64) -> Result<Prediction>
where
    F: FnMut(&Tensor, bool) -> Result<Tensor>,
{
    MonteCarlo::new(passes)?.f_predict(model, x)
}

/// How [`monte_carlo`] runs a model: how many passes, in which batches, how many at once, in which mode. What the model
/// returns decides the call: logits are for [`predict`](Self::predict), probabilities for
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
/// each input's rows, `a.index_select(0, rows)`. **Each pass's output**: with fold 1, the closure can push
/// `y.shallow_clone()` to a list. **The same networks for all batches**: masks that the batch shares (DropConnect, or
/// `shared(p, &[0])`), and a call for each batch, with the streams set back before it:
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
    passes: i64,
    fold: i64,
    batch_size: i64,
    train: bool,
    class_dim: i64,
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

    /// Runs a model that returns logits. Records no gradient. Memory does not grow with the number of passes.
    ///
    /// For a model that ends in a softmax, call [`predict_probabilities`](Self::predict_probabilities).
    ///
    /// # Shapes
    ///
    /// `x` is `[N, ...]`, of any kind and on any device, with whatever the model takes after `N`. The
    /// model returns floating-point logits `[N, K, ...]` for `K >= 2` classes: `[N, K]` for a class per row,
    /// `[N, K, H, W]` for a class per pixel. The softmax is taken over dimension 1: for classes in another, as in
    /// `[N, T, K]`, set [`class_dim`](Self::class_dim). (If the model returns a single logit for two classes, concatenate
    /// a zero logit in dimension 1.)
    ///
    /// # Errors
    ///
    /// An `x` without rows; an output of another shape or kind; [`MonteCarloError::NothingDrawn`] if `train`
    /// is false and no layer drew a mask, since such a model would look certain of everything. With
    /// `train(true)` this cannot be checked: there, a variance of exactly 0 means that no dropout was on. Those of
    /// [folding](Self#folding). A panic in the model propagates.
    pub fn predict<F>(&self, model: F, x: &Tensor) -> Result<Prediction>
    where
        F: FnMut(&Tensor, bool) -> Tensor,
    {
        self.f_predict(fallible(model), x)
    }

    /// Like [`predict`](Self::predict), for a model that returns a `Result`.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{MonteCarlo, TrueDropout};
    ///
    /// let layer = TrueDropout::elements(0.5)?;
    /// let x = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
    /// let prediction = MonteCarlo::new(50)?.f_predict(|x, train| layer.f_forward_t(x, train), &x)?;
    /// assert_eq!(prediction.mean.size(), [4, 3]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`predict`](Self::predict), and the model's.
    pub fn f_predict<F>(&self, model: F, x: &Tensor) -> Result<Prediction>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        self.moments(model, x, Output::Logits { dim: self.class_dim })?.into_prediction()
    }

    /// Runs a model that returns probabilities, as one that ends in a softmax. Like [`predict`](Self::predict), without
    /// another softmax.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{MonteCarlo, dropout};
    ///
    /// let x = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
    /// let model = |x: &Tensor, train| dropout(x, 0.5, train).softmax(1, None);
    /// let prediction = MonteCarlo::new(50)?.predict_probabilities(model, &x)?;
    /// assert_eq!(prediction.entropy.size(), [4]);
    /// assert!(MonteCarlo::new(50)?.predict_probabilities(|x, train| model(x, train) * 2.0, &x).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`predict`](Self::predict), and [`MonteCarloError::Probabilities`] for numbers that are none.
    pub fn predict_probabilities<F>(&self, model: F, x: &Tensor) -> Result<Prediction>
    where
        F: FnMut(&Tensor, bool) -> Tensor,
    {
        self.f_predict_probabilities(fallible(model), x)
    }

    /// Like [`predict_probabilities`](Self::predict_probabilities), for a model that returns a `Result`.
    ///
    /// # Errors
    ///
    /// Those of [`predict_probabilities`](Self::predict_probabilities), and the model's.
    pub fn f_predict_probabilities<F>(&self, model: F, x: &Tensor) -> Result<Prediction>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        self.moments(model, x, Output::Probabilities { dim: self.class_dim })?.into_prediction()
    }

    /// Runs a model that returns values. Like [`predict`](Self::predict), without a softmax.
    ///
    /// ```
    /// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
    /// use tch_dropout::{MonteCarlo, TrueDropout};
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let model = nn::seq_t()
    ///     .add(nn::linear(vs.root() / "hidden", 1, 32, Default::default()))
    ///     .add_fn(|x| x.relu())
    ///     .add(TrueDropout::elements(0.1)?)
    ///     .add(nn::linear(vs.root() / "output", 32, 1, Default::default()));
    /// let x = Tensor::linspace(-1.0, 1.0, 100, (Kind::Float, Device::Cpu)).unsqueeze(1);
    ///
    /// let regression = MonteCarlo::new(50)?.regress(|x, train| model.forward_t(x, train), &x)?;
    /// let two_sigma = regression.variance.sqrt() * 2.0;
    /// assert_eq!((regression.mean.size(), two_sigma.size()), (vec![100, 1], vec![100, 1]));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Shapes
    ///
    /// `x` is `[N, ...]`; the model returns floating-point values `[N, ...]`.
    ///
    /// # Errors
    ///
    /// Those of [`predict`](Self::predict).
    pub fn regress<F>(&self, model: F, x: &Tensor) -> Result<Regression>
    where
        F: FnMut(&Tensor, bool) -> Tensor,
    {
        self.f_regress(fallible(model), x)
    }

    /// Like [`regress`](Self::regress), for a model that returns a `Result`.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{MonteCarlo, TrueDropout};
    ///
    /// let layer = TrueDropout::elements(0.5)?;
    /// let x = Tensor::randn([4, 1], (Kind::Float, Device::Cpu));
    /// let regression = MonteCarlo::new(50)?.f_regress(|x, train| layer.f_forward_t(x, train), &x)?;
    /// assert_eq!(regression.variance.size(), [4, 1]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`regress`](Self::regress), and the model's.
    pub fn f_regress<F>(&self, model: F, x: &Tensor) -> Result<Regression>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        Ok(self.moments(model, x, Output::Values)?.into_regression())
    }

    fn moments<F>(&self, mut model: F, x: &Tensor, output: Output) -> Result<Moments>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        check_strided(x)?;
        if x.dim() == 0 || x.numel() == 0 {
            return Err(MonteCarloError::NoRows(x.size()).into());
        }
        if scope::is_folded() {
            return Err(scope::remembered(MonteCarloError::Nested));
        }
        let _no_grad = tch::no_grad_guard();
        let batches = x.f_split(self.batch_size.min(x.size()[0]), 0)?;
        let mut moments = Vec::with_capacity(batches.len());
        for batch in &batches {
            moments.push(self.batch_moments(&mut model, batch, output)?);
            // Not before the first batch, as shapes that do not fit make a clearer error.
            if moments.len() == 1 && self.fold.min(self.passes - 1) > 1 {
                let copies = Tensor::f_cat(&[batch, batch], 0)?;
                scope::rehearse(|| model(&copies, false))?;
            }
        }
        Moments::concat(&moments)
    }

    fn batch_moments<F>(&self, model: &mut F, batch: &Tensor, output: Output) -> Result<Moments>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        let rows = batch.size()[0];
        let mut passes = Accumulator::new(rows, output);
        let (outputs, shapes) = self.run(model, batch, None, output)?;
        if let Output::Probabilities { dim } = output {
            check_probabilities(&outputs, dim)?;
        }
        passes.push(outputs)?;
        let mut left = self.passes - 1;
        if self.fold == 1 {
            for _ in 0..left {
                passes.push(self.run(model, batch, None, output)?.0)?;
            }
            return passes.finish();
        }
        let copies = Tensor::f_cat(&vec![batch; self.fold.min(left) as usize], 0)?;
        while left > 0 {
            let fold = left.min(self.fold);
            let copies = copies.f_narrow(0, 0, fold * rows)?;
            passes.push(self.run(model, &copies, Some((fold, &shapes)), output)?.0)?;
            left -= fold;
        }
        passes.finish()
    }

    /// The outputs `[passes * N, ...]` of one call of the model, and the shapes of the inputs that layers
    /// drew for. `folded` has the number of passes side by side in the batch, and the shapes of a single
    /// pass.
    fn run<F>(
        &self,
        model: &mut F,
        batch: &Tensor,
        folded: Option<(i64, &Shapes)>,
        output: Output,
    ) -> Result<(Tensor, Shapes)>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        let (outputs, outcome) = scope::run(folded, || model(batch, self.train))?;
        let outputs = outputs?;
        if !outcome.drew && !self.train {
            return Err(MonteCarloError::NothingDrawn.into());
        }
        if let Some((_, shapes)) = folded {
            let (single, folded) = (shapes.len(), outcome.draws.len());
            if single != folded {
                return Err(MonteCarloError::Draws { single, folded }.into());
            }
        }
        check_outputs(&outputs, batch.size()[0], output)?;
        Ok((outputs, outcome.draws))
    }
}

/// A model that panics, as one that returns a `Result`.
fn fallible(
    mut model: impl FnMut(&Tensor, bool) -> Tensor,
) -> impl FnMut(&Tensor, bool) -> Result<Tensor> {
    move |x, train| Ok(model(x, train))
}

/// Whether there are classes, or values, for each of the batch's rows.
fn check_outputs(outputs: &Tensor, rows: i64, output: Output) -> Result<()> {
    let (kind, shape) = (outputs.kind(), outputs.size());
    let classes_fit = output.class_dim().is_none_or(|dim| {
        let dim = if dim < 0 { dim + shape.len() as i64 } else { dim };
        dim > 0 && shape.get(dim as usize).is_some_and(|&classes| classes >= 2)
    });
    if outputs.is_floating_point() && shape.first() == Some(&rows) && classes_fit {
        return Ok(());
    }
    Err(match output {
        Output::Logits { dim: 1 } => MonteCarloError::Logits { rows, kind, shape },
        Output::Logits { dim } | Output::Probabilities { dim } => {
            MonteCarloError::Classes { dim, rows, kind, shape }
        }
        Output::Values => MonteCarloError::Values { rows, kind, shape },
    }
    .into())
}

/// Whether numbers are from 0 to 1 and sum to 1, as far as half precision can tell. NaN passes: it shows in what is
/// predicted.
fn check_probabilities(outputs: &Tensor, dim: i64) -> Result<()> {
    const TOLERANCE: f64 = 0.02;
    let number = |t: Tensor| Ok::<_, Error>(f64::try_from(t)?);
    let least = number(outputs.f_min()?)?;
    let largest = number(outputs.f_max()?)?;
    let sums = outputs.f_sum_dim_intlist([dim].as_slice(), false, Kind::Float)?;
    let off = number(sums.f_sub_scalar(1.0)?.f_abs()?.f_max()?)?;
    if least < -TOLERANCE || largest > 1.0 + TOLERANCE || off > TOLERANCE {
        return Err(MonteCarloError::Probabilities { dim, least, largest, off }.into());
    }
    Ok(())
}

fn at_least_one(name: &'static str, got: i64) -> Result<i64> {
    if got < 1 {
        return Err(MonteCarloError::Count { name, got }.into());
    }
    Ok(got)
}
