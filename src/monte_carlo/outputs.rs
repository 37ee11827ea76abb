//! A call for each kind of output.

use tch::Tensor;

use super::options::MonteCarlo;
use super::prediction::{Output, Prediction, Regression};
use crate::error::Result;

impl MonteCarlo {
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
    /// An `x` without rows; an output of another shape or kind;
    /// [`MonteCarloError::NothingDrawn`](crate::MonteCarloError::NothingDrawn) if `train` is false and no layer drew a mask,
    /// since such a model would look certain of everything. With `train(true)` this cannot be checked: there, a variance of
    /// exactly 0 means that no dropout was on. Those of [folding](Self#folding). A panic in the model propagates.
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
    /// Those of [`predict`](Self::predict), and [`MonteCarloError::Probabilities`](crate::MonteCarloError::Probabilities) for
    /// numbers that are none. Only the first pass over each batch is looked at: a model that returns some later is not found
    /// out.
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
}

/// A model that panics, as one that returns a `Result`.
fn fallible(
    mut model: impl FnMut(&Tensor, bool) -> Tensor,
) -> impl FnMut(&Tensor, bool) -> Result<Tensor> {
    move |x, train| Ok(model(x, train))
}
