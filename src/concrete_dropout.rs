//! Concrete dropout: a p that is learned.

use std::borrow::Borrow;
use std::fmt;

use tch::{Kind, Tensor, nn};

use crate::error::{Error, Result, or_panic, or_panic_in};
use crate::noise::{Noise, noise_shape_methods, stream_methods};
use crate::noise_shape::NoiseShape;

/// Dropout whose `p` is learned with the weights (Gal, Hron and Kendall 2017). In training,
///
/// ```text
/// dropped = sigmoid((ln p - ln(1 - p) + ln u - ln(1 - u)) / temperature)        u uniform in (0, 1)
/// y = x * (1 - dropped) / (1 - p)
/// ```
///
/// `dropped` is nearly 0 or 1 for most `u`, and has a gradient for `p`. In evaluation the output is `x`. The loss needs the
/// layer's [`regularizer`](Self::regularizer), which says how much a small `p` costs; without it, `p` goes to 0.
/// [`concrete_dropout`] makes one.
///
/// Seeds, streams, Monte Carlo dropout and checkpoints work as in the other layers.
/// But its mask is computed by libtorch's operations, whose graph keeps it.
///
/// ```
/// use tch::{nn, nn::Module, nn::ModuleT, nn::OptimizerConfig, Device, Kind, Tensor};
/// use tch_dropout::concrete_dropout;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let dropout = concrete_dropout(vs.root() / "dropout", 0.1)?;
/// let linear = nn::linear(vs.root() / "output", 8, 1, Default::default());
/// let mut adam = nn::Adam::default().build(&vs, 1e-3)?;
///
/// let n = 1_000.0; // How many examples there are.
/// let (x, y) = (Tensor::randn([16, 8], (Kind::Float, Device::Cpu)), Tensor::zeros([16, 1], (Kind::Float, Device::Cpu)));
/// let fit = linear.forward(&dropout.forward_t(&x, true)).mse_loss(&y, tch::Reduction::Mean);
/// adam.backward_step(&(fit + dropout.regularizer(&linear.ws, 1e-4 / n, 2.0 / n)));
/// println!("p is {}", dropout.p());
/// # assert!(dropout.p() != 0.1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ConcreteDropout {
    /// `ln p - ln(1 - p)`, which is learned.
    pub p_logit: Tensor,
    temperature: f64,
    noise: Noise,
}

/// Makes a [`ConcreteDropout`] that begins with this `p`, with a draw for each element. Its variable is `p_logit`.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::{NoiseShape, concrete_dropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer = concrete_dropout(vs.root() / "dropout", 0.1)?;
/// assert!(vs.variables().contains_key("dropout.p_logit"));
///
/// // For convolutions, with the temperature that the authors take there.
/// let layer = layer.with_noise_shape(NoiseShape::Channels).with_temperature(2.0 / 3.0)?;
/// assert_eq!(layer.to_string(), "ConcreteDropout(p=0.1, channels, temperature=0.6666666666666666)");
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::LearnedProbability`] for a `p` that does not lie between 0 and 1; then nothing is added to the `VarStore`.
pub fn concrete_dropout<'a, T: Borrow<nn::Path<'a>>>(vs: T, p: f64) -> Result<ConcreteDropout> {
    if !(p > 0.0 && p < 1.0) {
        return Err(Error::LearnedProbability(p));
    }
    let logit = p.ln() - (-p).ln_1p();
    Ok(ConcreteDropout {
        p_logit: vs.borrow().f_var("p_logit", &[], nn::Init::Const(logit))?,
        temperature: 0.1,
        noise: Noise::new(0.5, NoiseShape::Elements, true)?, // Its p is of no effect on the numbers that are drawn.
    })
}

impl ConcreteDropout {
    /// How soft the mask is; 0.1 by default, as in the paper. The lower, the nearer to 0 and 1, and the larger the
    /// gradient's variance.
    ///
    /// # Errors
    ///
    /// [`Error::Temperature`] for one that is not positive and finite.
    ///
    /// ```
    /// use tch::{nn, Device};
    /// use tch_dropout::concrete_dropout;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// assert!(concrete_dropout(vs.root(), 0.1)?.with_temperature(0.0).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn with_temperature(self, temperature: f64) -> Result<Self> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Temperature(temperature));
        }
        Ok(ConcreteDropout { temperature, ..self })
    }

    /// What `p` is now. (On a GPU, this waits for it.)
    ///
    /// ```
    /// use tch::{nn, Device};
    /// use tch_dropout::concrete_dropout;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// assert!((concrete_dropout(vs.root(), 0.3)?.p() - 0.3).abs() < 1e-7);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn p(&self) -> f64 {
        or_panic(
            self.p_logit
                .f_to_kind(Kind::Double)
                .and_then(|logit| logit.f_sigmoid()?.f_double_value(&[]))
                .map_err(Error::from),
        )
    }

    noise_shape_methods!();
    stream_methods!();

    /// The forward pass. [`forward_t`](https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t) does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` has any shape that fits the noise shape, and a floating-point kind; the output has the same.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::concrete_dropout;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = concrete_dropout(vs.root(), 0.1)?;
    /// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
    /// assert_eq!(layer.f_forward_t(&x, false)?, x);
    /// assert!(layer.f_forward_t(&x.to_kind(Kind::Int64), true).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`DropoutLayer::f_forward_t`](crate::DropoutLayer::f_forward_t), and [`Error::Kind`] for another kind.
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if !x.is_floating_point() {
            return Err(Error::Kind(x.kind()));
        }
        let Some(normal) = self.noise.draw_normal_if_active(x, train)? else {
            return Ok(x.shallow_clone());
        };
        // ln u - ln(1 - u), where u is the share of the normal distribution below a normal number.
        let logistic =
            normal.f_special_log_ndtr()?.f_sub(&normal.f_neg()?.f_special_log_ndtr()?)?;
        let kept = logistic.f_add(&self.p_logit)?.f_div_scalar(-self.temperature)?.f_sigmoid()?;
        let mask = kept.f_div(&self.p_logit.f_neg()?.f_sigmoid()?)?;
        Ok(x.f_mul(&mask.f_to_kind(x.kind())?)?)
    }

    /// What the layer adds to the loss, for the weight of the linear or convolutional layer that follows:
    /// `of_weight * Σ weight² / (1 - p) + of_p * inputs * (p ln p + (1 - p) ln(1 - p))`.
    ///
    /// For a mean of squared errors over `n` examples, the authors take `l² / (τ n)` for the weight, with `l` the prior's
    /// length scale and `τ` the inverse variance of the noise (1 where the network predicts it), and `2 / (τ n)` for `p`;
    /// for cross-entropy `1 / n` for `p`, and half of the first. [`f_regularizer`](Self::f_regularizer) has the shapes.
    ///
    /// # Panics
    ///
    /// Where [`f_regularizer`](Self::f_regularizer) returns an error.
    #[track_caller]
    pub fn regularizer(&self, weight: &Tensor, of_weight: f64, of_p: f64) -> Tensor {
        or_panic_in(self, self.f_regularizer(weight, of_weight, of_p))
    }

    /// Like [`regularizer`](Self::regularizer), but returns a `Result`.
    ///
    /// # Shapes
    ///
    /// `weight` is `[out, inputs, ...]`, as that of a linear layer or a convolution of one group, not transposed; the result is
    /// a scalar.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::concrete_dropout;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = concrete_dropout(vs.root(), 0.5)?;
    /// let weight = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
    /// let found = layer.f_regularizer(&weight, 1.0, 0.0)?;
    /// assert_eq!(found, Tensor::from(64f32)); // 32 / 0.5
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::WeightShape`] for a weight of fewer dimensions; libtorch's for one on another device.
    pub fn f_regularizer(&self, weight: &Tensor, of_weight: f64, of_p: f64) -> Result<Tensor> {
        let size = weight.size();
        let Some(&inputs) = size.get(1) else { return Err(Error::WeightShape(size)) };
        let (logit, opposite) = (&self.p_logit, self.p_logit.f_neg()?);
        let squares = weight.f_square()?.f_sum(self.p_logit.kind())?;
        let of_weight = squares.f_mul_scalar(of_weight)?.f_div(&opposite.f_sigmoid()?)?;
        let dropped = logit.f_sigmoid()?.f_mul(&logit.f_log_sigmoid()?)?;
        let kept = opposite.f_sigmoid()?.f_mul(&opposite.f_log_sigmoid()?)?;
        let of_p = dropped.f_add(&kept)?.f_mul_scalar(of_p * inputs as f64)?;
        Ok(of_weight.f_add(&of_p)?)
    }
}

impl nn::ModuleT for ConcreteDropout {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch would print it, with `p` as it is now: `ConcreteDropout(p=0.1, elements, temperature=0.1)`.
impl fmt::Display for ConcreteDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A logit in f32 has no more digits.
        let p = (self.p() * 1e6).round() / 1e6;
        let temperature = self.temperature;
        write!(f, "ConcreteDropout(p={p:?}, {}, temperature={temperature:?})", self.noise.shape)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for ConcreteDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
