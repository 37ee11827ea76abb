//! Attention that drops its weights.

use std::fmt;

mod checks;
pub(crate) mod definition;
#[cfg(recompute)]
pub(crate) mod in_blocks;
pub(crate) mod options;

use tch::Tensor;

use self::definition::Causal;
use self::options::Options;
use crate::error::{Result, or_panic_in};
use crate::noise::{Noise, noise_methods, noise_shape_methods};
use crate::noise_shape::NoiseShape;

/// Scaled dot-product attention with dropout of its weights (Vaswani et al. 2017): in training,
/// `dropout(softmax(query · keyᵀ · scale + mask)) · value`; in evaluation, the same without dropout.
///
/// It is `torch.nn.functional.scaled_dot_product_attention`, except that it has a `train` flag. There, and in
/// [`Tensor::scaled_dot_product_attention`], `dropout_p` drops in evaluation too, unless the caller passes 0
/// (pytorch issue 99293).
///
/// [`MultiHeadAttention`](crate::MultiHeadAttention) adds the projections.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::Attention;
///
/// let attention = Attention::new(0.1)?.with_causal(true);
/// let [query, key, value] = [(); 3].map(|()| Tensor::randn([2, 4, 10, 16], (Kind::Float, Device::Cpu)));
/// let in_training = attention.forward(&query, &key, &value, None, true);
/// let in_evaluation = attention.forward(&query, &key, &value, None, false);
/// # assert_eq!((in_training.size(), in_evaluation.size()), (query.size(), query.size()));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Cost
///
/// Where nothing is dropped (in evaluation, or with `p = 0`), libtorch's fused kernel computes it, which
/// keeps no weights. (It has no second derivative on every device.)
///
/// In training no weights are kept either, with the feature `recompute`, where a head has more than 65,536 of them (as
/// many as 256 queries have for 256 keys): they are computed for a block of queries at a time, and again in the backward
/// pass, as in flash attention (Dao et al. 2022). Causal blocks leave out the keys that none of their queries sees. The
/// memory grows with `T + S`, not with `T · S`. On a GPU, blocks begin above 4,194,304 weights (2048 × 2048).
/// [`guide::cost`](crate::guide::cost#attention) has figures.
///
/// On a GPU, a layer without a seed leaves dropout to libtorch's fused kernels, flash and memory-efficient attention, with
/// masks from the generator that it follows; except in f64. The fused kernels have no second derivative: for one, give the layer a
/// seed. And flash attention, which computes in f16 and bf16, drops with `p` rounded to a multiple of 1/256: 0.1016 for
/// 0.1.
///
/// The definition computes the rest, which keeps the weights before and after dropout: shorter sequences, draws that
/// weights share ([`with_noise_shape`](Self::with_noise_shape), over the weights `[..., T, S]`; one for the whole
/// batch and all heads, as in Flax, is `NoiseShape::Shared(vec![0, 1])`), second
/// derivatives (the gradient's own pass runs it then), models that are being traced, [`tch::autocast`]. For
/// inputs in half precision, the weights before dropout are computed in f32; in blocks, all is.
///
/// [`Tensor::scaled_dot_product_attention`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.scaled_dot_product_attention
/// [`tch::autocast`]: https://docs.rs/tch/latest/tch/fn.autocast.html
#[derive(Clone)]
pub struct Attention {
    noise: Noise,
    options: Options,
}

impl Attention {
    /// Attention that drops each weight with probability `p`, and multiplies the others by `1 / (1 - p)`.
    ///
    /// ```
    /// let attention = tch_dropout::Attention::new(0.1)?;
    /// assert_eq!(attention.to_string(), "Attention(p=0.1, causal=false)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        let noise = Noise::new(p, NoiseShape::Elements, true)?;
        Ok(Attention { noise, options: Options::default() })
    }

    /// Whether the query at position `t` sees only the keys at positions up to `t`; false by default. As in
    /// libtorch, both count from 0, also where there are more keys than queries: with a key cache, see
    /// [`with_causal_lower_right`](Self::with_causal_lower_right).
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Attention;
    ///
    /// let x = Tensor::randn([5, 8], (Kind::Float, Device::Cpu));
    /// let y = Attention::new(0.0)?.with_causal(true).forward(&x, &x, &x, None, true);
    /// assert!(y.get(0).allclose(&x.get(0), 1e-5, 1e-6, false)); // The first position sees only itself.
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn with_causal(mut self, causal: bool) -> Self {
        self.options.causal = if causal { Causal::UpperLeft } else { Causal::No };
        self
    }

    /// Whether the last query sees all keys, the one before it all but the last, and so on; false by default. For queries
    /// that follow a cache of earlier keys. With as many queries as keys it is [`with_causal`](Self::with_causal); with
    /// more of them, the first ones see no key, and get 0. (PyTorch: `torch.nn.attention.bias.causal_lower_right`.)
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Attention;
    ///
    /// // One query, the fifth of its sequence, and the keys so far.
    /// let [query, cache] = [1, 5].map(|n| Tensor::randn([n, 8], (Kind::Float, Device::Cpu)));
    /// let attention = Attention::new(0.1)?;
    /// let of_all = attention.clone().forward(&query, &cache, &cache, None, false);
    /// let lower_right = attention.clone().with_causal_lower_right(true);
    /// assert_eq!(lower_right.forward(&query, &cache, &cache, None, false), of_all);
    /// // `with_causal` would show it the first key alone.
    /// let of_first = attention.with_causal(true).forward(&query, &cache, &cache, None, false);
    /// assert!(of_first.allclose(&cache.narrow(0, 0, 1), 1e-5, 1e-6, false));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn with_causal_lower_right(mut self, causal: bool) -> Self {
        self.options.causal = if causal { Causal::LowerRight } else { Causal::No };
        self
    }

    /// What the products of queries and keys are multiplied by; `1 / sqrt(E)` by default.
    ///
    /// ```
    /// let attention = tch_dropout::Attention::new(0.1)?.with_scale(0.125);
    /// assert_eq!(attention.to_string(), "Attention(p=0.1, causal=false, scale=0.125)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.options.scale = Some(scale);
        self
    }

    noise_shape_methods!();
    noise_methods!();

    /// The forward pass.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Attention;
    ///
    /// let options = (Kind::Float, Device::Cpu);
    /// let (query, memory) = (Tensor::randn([2, 4, 7, 16], options), Tensor::randn([2, 4, 9, 16], options));
    /// // The second sequence has 5 keys, and 4 of padding.
    /// let lengths = Tensor::from_slice(&[9, 5]);
    /// let is_key = Tensor::arange(9, (Kind::Int64, Device::Cpu)).lt_tensor(&lengths.reshape([2, 1, 1, 1]));
    /// let y = Attention::new(0.1)?.forward(&query, &memory, &memory, Some(&is_key), true);
    /// assert_eq!(y.size(), [2, 4, 7, 16]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Where [`f_forward`](Self::f_forward) returns an error.
    #[track_caller]
    pub fn forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Tensor {
        or_panic_in(self, self.f_forward(query, key, value, mask, train))
    }

    /// Like [`forward`](Self::forward), but returns a `Result`.
    ///
    /// # Shapes
    ///
    /// `query` is `[..., T, E]`, `key` is `[..., S, E]` and `value` is `[..., S, V]`, with the same leading
    /// dimensions; the output is `[..., T, V]`. They are all of one floating-point kind.
    ///
    /// In `[N, ..., H, T, E]`, that is with four dimensions or more, keys and values may have fewer heads
    /// than queries (grouped-query attention, Ainslie et al. 2023): `H` must be a multiple of theirs, and
    /// consecutive queries' heads share one.
    ///
    /// `mask` broadcasts over the weights `[..., T, S]`. It is boolean, and true where a key takes part, or
    /// has numbers that are added before the softmax, of the query's kind or `f32`. A causal layer takes one
    /// as well; a key then takes part only where both allow it.
    ///
    /// A query whose keys are all masked gets 0, in training and evaluation, and has gradient 0. (libtorch
    /// gives NaN before 2.5.)
    ///
    /// Folded passes of [Monte Carlo dropout](crate::MonteCarlo) need the batch in dimension 0.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Attention;
    ///
    /// let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
    /// let (query, key) = (ones(&[2, 8, 10, 16]), ones(&[2, 2, 12, 16]));
    /// let attention = Attention::new(0.1)?;
    /// assert_eq!(attention.f_forward(&query, &key, &key, None, true)?.size(), [2, 8, 10, 16]);
    ///
    /// let value = ones(&[2, 2, 13, 16]);
    /// let error = attention.f_forward(&query, &key, &value, None, true).unwrap_err().to_string();
    /// assert_eq!(
    ///     error,
    ///     "attention needs a value for each key, got query [2, 8, 10, 16], key [2, 2, 12, 16] and value [2, 2, 13, 16]"
    /// );
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::AttentionShapes`](crate::Error::AttentionShapes),
    /// [`Error::AttentionMask`](crate::Error::AttentionMask) and
    /// [`Error::AttentionMaskKind`](crate::Error::AttentionMaskKind); [`Error::Kind`](crate::Error::Kind) for
    /// queries of a kind that is not floating-point; libtorch's, for kinds or devices that differ; and those
    /// of [`DropoutLayer::f_forward_t`](crate::DropoutLayer::f_forward_t). The layer takes no step then.
    pub fn f_forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        self.options.attend(&self.noise, [query, key, value], mask, train)
    }

    /// The forward pass, and the weights before dropout, `[..., T, S]`: for a plot, or for a loss of them, as they are in the
    /// graph. It is computed by the definition, which keeps them. PyTorch returns them after dropout.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Attention;
    ///
    /// let [query, key, value] = [5, 7, 7].map(|n| Tensor::randn([2, 4, n, 16], (Kind::Float, Device::Cpu)));
    /// let attention = Attention::new(0.1)?;
    /// let (y, weights) = attention.f_forward_with_weights(&query, &key, &value, None, true)?;
    /// assert_eq!((y.size(), weights.size()), (vec![2, 4, 5, 16], vec![2, 4, 5, 7]));
    /// // Averaged over heads.
    /// assert_eq!(weights.mean_dim(1, false, None).size(), [2, 5, 7]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`f_forward`](Self::f_forward).
    pub fn f_forward_with_weights(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        self.options.attend_with_weights(&self.noise, [query, key, value], mask, train)
    }
}

/// As PyTorch prints a layer: `Attention(p=0.1, causal=true)`, or `causal=lower_right`, with the scale if it is not the default.
impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attention(p={:?}, causal={}", self.p(), self.options.causal)?;
        match self.options.scale {
            Some(scale) => write!(f, ", scale={scale:?})"),
            None => f.write_str(")"),
        }
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
