//! Attention that drops its weights.

use std::fmt;

use tch::{Kind, Tensor};

use crate::error::{Error, Result, or_panic_in};
use crate::fused_attention::{fused_attention, pairs};
use crate::kind::real_kind;
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_strided;

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
/// keeps no weights. (It has no second derivative on every device.) Dropping needs the weights `[..., T, S]`:
/// for the backward pass, they are kept before and after dropout. No mask is kept with the feature
/// `recompute`. For inputs in half precision, the weights before dropout are computed and kept in f32.
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
    /// libtorch, both count from 0, also where there are more keys than queries.
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
        self.options.causal = causal;
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
}

/// As PyTorch prints a layer: `Attention(p=0.1, causal=true)`, with the scale if it is not the default.
impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attention(p={:?}, causal={}", self.p(), self.options.causal)?;
        match self.options.scale {
            Some(scale) => write!(f, ", scale={scale:?})"),
            None => f.write_str(")"),
        }
    }
}

/// The same as `Display`.
impl fmt::Debug for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What attention is, apart from its dropout.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) causal: bool,
    /// `1 / sqrt(E)` if there is none.
    pub(crate) scale: Option<f64>,
}

impl Options {
    /// `noise(softmax(query · keyᵀ · scale + mask)) · value`.
    pub(crate) fn attend(
        &self,
        noise: &Noise,
        inputs: [&Tensor; 3],
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        check_inputs(inputs)?;
        let [query, key, value] = inputs;
        let (key, value) = (heads_like(query, key)?, heads_like(query, value)?);
        let mask = mask.map(|mask| self.mask(query, &key, mask)).transpose()?;
        let bias = mask.as_ref().map(|mask| &mask.bias);

        let p = noise.active_p(train)?;
        let y = if !p.is_zero() {
            let weights = self.weights(query, &key, bias)?;
            check_value(&weights, &value)?;
            noise.draw_at(p, &weights)?.multiply(&weights, None)?.f_matmul(&value)?
        } else {
            let causal = self.causal && bias.is_none();
            let bias = bias.map(Tensor::shallow_clone);
            fused_attention([query, &key, &value], bias, causal, self.scale)?
        };
        match mask {
            Some(mask) => Ok(y.f_masked_fill(&mask.blind, 0.0)?),
            None => Ok(y),
        }
    }

    /// `softmax(query · keyᵀ · scale + bias)`.
    fn weights(&self, query: &Tensor, key: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let scale = self.scale.unwrap_or_else(|| 1.0 / (last(query) as f64).sqrt());
        let kind = query.kind();
        // In f32, as libtorch has it: scores may exceed f16's range, and bf16 is too coarse for an exponent.
        let is_half = [Kind::Half, Kind::BFloat16].contains(&kind) && key.kind() == kind;
        let wide = if is_half { Kind::Float } else { kind };
        let key = if is_half { key.f_to_kind(wide)? } else { key.shallow_clone() };
        // Before the product, as there are fewer numbers.
        let query = query.f_to_kind(wide)?.f_mul_scalar(scale)?;
        let mut scores = query.f_matmul(&key.f_transpose(-2, -1)?)?;
        match bias {
            Some(bias) => scores = scores.f_add_(bias)?,
            None if self.causal => scores = scores.f_add_(&future(&query, &key, scores.kind())?)?,
            None => {}
        }
        let weights = scores.f_softmax(-1, None)?;
        if is_half { Ok(weights.f_to_kind(kind)?) } else { Ok(weights) }
    }

    /// What a mask, and being causal, add to the scores.
    fn mask(&self, query: &Tensor, key: &Tensor, mask: &Tensor) -> Result<Mask> {
        let mut weights = query.size();
        weights.splice(query.dim() - 1.., [key.size()[key.dim() - 2]]);
        check_mask(query.kind(), &weights, mask)?;
        // libtorch's kernel needs two dimensions.
        let mut bias = mask.f_atleast_2d()?;
        if bias.kind() == Kind::Bool {
            // The logarithm of 1 is 0, and that of 0 is -∞.
            bias = bias.f_to_kind(query.kind())?.f_log()?;
        }
        if self.causal {
            bias = bias.f_add(&future(query, key, bias.kind())?)?;
        }
        let blind = bias.f_isneginf()?.f_all_dim(-1, true)?;
        Ok(Mask { bias: bias.f_masked_fill(&blind, 0.0)?, blind })
    }
}

/// A mask, ready to be added to the scores.
struct Mask {
    /// Without the rows that are blind: the softmax of such a row would be NaN, and its gradient too.
    bias: Tensor,
    /// Whether all of a query's keys are masked, `[..., T, 1]`.
    blind: Tensor,
}

/// What being causal adds to the scores: -∞ above the diagonal of `[T, S]`.
fn future(query: &Tensor, key: &Tensor, kind: Kind) -> Result<Tensor> {
    Ok(pairs(query, key, kind)?.f_full_like(f64::NEG_INFINITY)?.f_triu_(1)?)
}

/// The keys or values, with each head repeated for the queries' heads that share it.
fn heads_like(query: &Tensor, shared: &Tensor) -> Result<Tensor> {
    match repeats(&query.size(), &shared.size()) {
        None | Some(1) => Ok(shared.shallow_clone()),
        Some(repeats) => Ok(shared.f_repeat_interleave_self_int(repeats, -3, None)?),
    }
}

/// How many of the queries' heads share one of the keys' or values'. `None` if there are no heads, or they
/// cannot be shared.
fn repeats(query: &[i64], shared: &[i64]) -> Option<i64> {
    let heads =
        |size: &[i64]| size.len().checked_sub(3).filter(|&dim| dim > 0).map(|dim| size[dim]);
    let (all, shared) = (heads(query)?, heads(shared)?);
    (shared > 0 && all % shared == 0).then(|| all / shared)
}

/// Checks the shapes, and the query's kind.
fn check_inputs([query, key, value]: [&Tensor; 3]) -> Result<()> {
    [query, key, value].into_iter().try_for_each(check_strided)?;
    let [q, k, v] = [query, key, value].map(Tensor::size);
    let same_leading = |shared: &[i64]| {
        let heads = if repeats(&q, shared).is_some() { 3 } else { 2 };
        shared.len() == q.len() && shared[..q.len() - heads] == q[..q.len() - heads]
    };
    let expected = if [&q, &k, &v].iter().any(|size| size.len() < 2) {
        "at least 2 dimensions"
    } else if q.last() != k.last() {
        "queries and keys of the same size in the last dimension"
    } else if k[k.len() - 2] != v[v.len() - 2] {
        "a value for each key"
    } else if !same_leading(&k) || !same_leading(&v) {
        "the same leading dimensions, except for heads whose number divides the query's"
    } else if real_kind(query.kind()) != Some(query.kind()) {
        return Err(Error::Kind(query.kind()));
    } else {
        return Ok(());
    };
    Err(Error::AttentionShapes { expected, query: q, key: k, value: v })
}

/// Checks what the product with the values needs, before a mask is drawn, so that an error takes no step.
fn check_value(weights: &Tensor, value: &Tensor) -> Result<()> {
    if value.kind() != weights.kind() || value.device() != weights.device() {
        // An error, unless autocast makes them equal. One row, as libtorch does not check a product of none.
        let rows = weights.size()[weights.dim() - 2].min(1);
        let _ = weights.f_narrow(-2, 0, rows)?.f_matmul(value)?;
    }
    Ok(())
}

fn check_mask(query: Kind, weights: &[i64], mask: &Tensor) -> Result<()> {
    check_strided(mask)?;
    let size = mask.size();
    let mut dims = size.iter().rev().zip(weights.iter().rev());
    if size.len() > weights.len() || !dims.all(|(&mask, &all)| mask == 1 || mask == all) {
        return Err(Error::AttentionMask { mask: size, weights: weights.to_vec() });
    }
    if ![Kind::Bool, Kind::Float, query].contains(&mask.kind()) {
        return Err(Error::AttentionMaskKind { mask: mask.kind(), query });
    }
    Ok(())
}

fn last(t: &Tensor) -> i64 {
    *t.size().last().expect("the number of dimensions has been checked")
}
