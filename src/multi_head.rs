//! Multi-head attention: the projections around attention with dropout.

use std::borrow::Borrow;
use std::fmt;

use tch::{Tensor, nn};

use crate::attention::definition::Causal;
use crate::attention::options::Options;
use crate::error::{Error, Result, or_panic_in};
use crate::in_projection::{InProjection, uniform};
use crate::noise::{Noise, noise_methods, noise_shape_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_strided;

/// The options of [`multi_head_attention`].
///
/// ```
/// use tch_dropout::MultiHeadAttentionConfig;
/// let config = MultiHeadAttentionConfig { causal: true, ..Default::default() };
/// assert_eq!(config.p, 0.1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MultiHeadAttentionConfig {
    /// The probability that an attention weight is dropped; 0.1 by default, as in the paper.
    pub p: f64,
    /// Whether a position sees only those up to itself; false by default. See
    /// [`Attention::with_causal`](crate::Attention::with_causal).
    pub causal: bool,
    /// The same where the queries follow a cache of earlier keys: the last query sees all keys; false by default. See
    /// [`Attention::with_causal_lower_right`](crate::Attention::with_causal_lower_right).
    pub causal_lower_right: bool,
    /// Whether the projections have biases; true by default.
    pub bias: bool,
    /// How many heads the keys and values have: a number that divides that of the queries, and the same by
    /// default. With one, this is multi-query attention (Shazeer 2019), with more, grouped-query attention
    /// (Ainslie et al. 2023).
    pub kv_heads: Option<i64>,
    /// The keys' number of features, before they are projected; `embed_dim` by default.
    pub kdim: Option<i64>,
    /// The values' number of features, before they are projected; `embed_dim` by default.
    pub vdim: Option<i64>,
}

impl Default for MultiHeadAttentionConfig {
    fn default() -> Self {
        MultiHeadAttentionConfig {
            p: 0.1,
            causal: false,
            causal_lower_right: false,
            bias: true,
            kv_heads: None,
            kdim: None,
            vdim: None,
        }
    }
}

/// Multi-head attention (Vaswani et al. 2017): each head attends with projections of its own, by
/// [`Attention`](crate::Attention), and a last projection mixes what they found.
///
/// It is `torch.nn.MultiheadAttention(embed_dim, num_heads, dropout=p, batch_first=True)`, with the same
/// variables, so a state dict of that loads. Three things differ: the batch comes first; a boolean mask is
/// true where a key *takes part*, as in `scaled_dot_product_attention`; and the weights are returned by
/// [`f_forward_with_weights`](Self::f_forward_with_weights) alone.
/// Like [`nn::Linear`], the layer holds tensors, and so is `Send` but not `Sync`. [`multi_head_attention`]
/// makes one.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{multi_head_attention, MultiHeadAttention, MultiHeadAttentionConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = MultiHeadAttentionConfig { causal: true, ..Default::default() };
/// let layer: MultiHeadAttention = multi_head_attention(vs.root() / "self_attn", 32, 4, config)?;
/// let x = Tensor::randn([2, 10, 32], (Kind::Float, Device::Cpu));
/// assert_eq!(layer.forward_t(&x, true).size(), [2, 10, 32]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`nn::Linear`]: https://docs.rs/tch/latest/tch/nn/struct.Linear.html
pub struct MultiHeadAttention {
    /// The projections to the queries, of `embed_dim` rows, and to the keys and to the values, of `kv_heads * head_dim` rows
    /// each: as many, unless heads are shared.
    pub in_proj: InProjection,
    /// The bias of all three, in the same order.
    pub in_proj_bias: Option<Tensor>,
    /// The projection of what the heads found, one after the other.
    pub out_proj: nn::Linear,
    embed_dim: i64,
    num_heads: i64,
    kv_heads: i64,
    /// Of queries, keys and values.
    features: [i64; 3],
    options: Options,
    noise: Noise,
}

/// Makes a [`MultiHeadAttention`] layer for `embed_dim` features, of which each head gets
/// `embed_dim / num_heads`.
///
/// Its variables have the names, shapes and initial distributions of PyTorch's: `in_proj_weight`,
/// `in_proj_bias`, `out_proj.weight` and `out_proj.bias`; with `kdim` or `vdim`, `q_proj_weight`, `k_proj_weight` and
/// `v_proj_weight` in place of the first. PyTorch's has no grouped heads: with these, `in_proj_weight` and `in_proj_bias`
/// have fewer rows for the keys and values.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::multi_head_attention;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer = multi_head_attention(vs.root() / "self_attn", 32, 4, Default::default())?;
/// assert_eq!(vs.variables()["self_attn.in_proj_weight"].size(), [96, 32]);
///
/// let error = multi_head_attention(vs.root(), 32, 5, Default::default()).unwrap_err().to_string();
/// assert_eq!(
///     error,
///     "embed_dim must be a positive multiple of num_heads, and num_heads of kv_heads, \
///      got embed_dim 32, num_heads 5 and kv_heads 5"
/// );
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Probability`](crate::Error::Probability) for a `p` outside `[0, 1]`;
/// [`Error::Heads`](crate::Error::Heads); [`Error::Features`](crate::Error::Features) for a `kdim` or `vdim` that is not
/// positive. Then nothing is added to the `VarStore`.
pub fn multi_head_attention<'a, T: Borrow<nn::Path<'a>>>(
    vs: T,
    embed_dim: i64,
    num_heads: i64,
    config: MultiHeadAttentionConfig,
) -> Result<MultiHeadAttention> {
    let kv_heads = config.kv_heads.unwrap_or(num_heads);
    let is_multiple = |n: i64, of: i64| of > 0 && n > 0 && n % of == 0;
    if !is_multiple(embed_dim, num_heads) || !is_multiple(num_heads, kv_heads) {
        return Err(Error::Heads { embed_dim, num_heads, kv_heads });
    }
    let [kdim, vdim] = [config.kdim, config.vdim].map(|features| features.unwrap_or(embed_dim));
    if kdim < 1 || vdim < 1 {
        return Err(Error::Features { kdim, vdim });
    }
    let noise = Noise::new(config.p, NoiseShape::Elements, true)?;

    let vs = vs.borrow();
    let features = [embed_dim, kdim, vdim];
    let rows = rows(embed_dim, num_heads, kv_heads);
    let in_proj = InProjection::new(vs, rows, features);
    let in_proj_bias = config.bias.then(|| vs.zeros("in_proj_bias", &[rows.iter().sum()]));
    let ws_init = uniform(1.0, embed_dim);
    let linear =
        nn::LinearConfig { ws_init, bs_init: Some(nn::Init::Const(0.0)), bias: config.bias };
    let out_proj = nn::linear(vs / "out_proj", embed_dim, embed_dim, linear);
    let causal = match config {
        MultiHeadAttentionConfig { causal_lower_right: true, .. } => Causal::LowerRight,
        MultiHeadAttentionConfig { causal: true, .. } => Causal::UpperLeft,
        _ => Causal::No,
    };
    let options = Options { causal, scale: None };
    Ok(MultiHeadAttention {
        in_proj,
        in_proj_bias,
        out_proj,
        embed_dim,
        num_heads,
        kv_heads,
        features,
        options,
        noise,
    })
}

/// How many rows project to the queries, the keys and the values.
fn rows(embed_dim: i64, num_heads: i64, kv_heads: i64) -> [i64; 3] {
    let shared = embed_dim / num_heads * kv_heads;
    [embed_dim, shared, shared]
}

impl MultiHeadAttention {
    noise_shape_methods!();
    noise_methods!();

    /// Self-attention. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, T, embed_dim]`, and so is the output. For a mask, call [`f_forward`](Self::f_forward) with
    /// `x` three times.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::multi_head_attention;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = multi_head_attention(vs.root(), 32, 4, Default::default())?;
    /// let x = Tensor::randn([10, 32], (Kind::Float, Device::Cpu));
    /// let error = layer.f_forward_t(&x, true).unwrap_err().to_string();
    /// assert_eq!(error, "multi-head attention needs inputs of shape [N, T, 32], got [10, 32]");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`f_forward`](Self::f_forward).
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.f_forward(x, x, x, None, train)
    }

    /// Attention of `query` to other sequences, such as a decoder's to the encoder's output, or with a mask.
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::multi_head_attention;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = multi_head_attention(vs.root(), 32, 4, Default::default())?;
    /// let sequences = |n: i64| Tensor::randn([2, n, 32], (Kind::Float, Device::Cpu));
    /// let (decoder, encoder) = (sequences(5), sequences(7));
    /// // PyTorch's key_padding_mask is [N, S], and true for padding.
    /// let is_padding = Tensor::zeros([2, 7], (Kind::Bool, Device::Cpu));
    /// let mask = is_padding.logical_not().reshape([2, 1, 1, 7]);
    /// let y = layer.forward(&decoder, &encoder, &encoder, Some(&mask), true);
    /// assert_eq!(y.size(), [2, 5, 32]);
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
    /// `query` is `[N, T, embed_dim]`, `key` is `[N, S, kdim]` and `value` `[N, S, vdim]`, which are `embed_dim` by default;
    /// the output is `[N, T, embed_dim]`. `mask` broadcasts over the weights `[N, num_heads, T, S]`, and is as for
    /// [`Attention`](crate::Attention::f_forward).
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::multi_head_attention;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = multi_head_attention(vs.root(), 32, 4, Default::default())?;
    /// let x = Tensor::randn([2, 5, 32], (Kind::Float, Device::Cpu));
    /// let mask = Tensor::zeros([2, 5], (Kind::Float, Device::Cpu));
    /// let error = layer.f_forward(&x, &x, &x, Some(&mask), true).unwrap_err().to_string();
    /// assert_eq!(
    ///     error,
    ///     "a mask of shape [2, 5] does not broadcast over attention weights of shape [2, 4, 5, 5]"
    /// );
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Sequences`](crate::Error::Sequences), and those of
    /// [`Attention::f_forward`](crate::Attention::f_forward). The layer takes no step then.
    pub fn f_forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        let heads = self.heads([query, key, value])?;
        self.mix(&self.options.attend(&self.noise, heads.each_ref(), mask, train)?)
    }

    /// Like [`f_forward`](Self::f_forward), and returns each head's weights before dropout, `[N, num_heads, T, S]`: see
    /// [`Attention::f_forward_with_weights`](crate::Attention::f_forward_with_weights).
    ///
    /// ```
    /// use tch::{nn, Device, Kind, Tensor};
    /// use tch_dropout::multi_head_attention;
    ///
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// let layer = multi_head_attention(vs.root(), 32, 4, Default::default())?;
    /// let x = Tensor::randn([2, 5, 32], (Kind::Float, Device::Cpu));
    /// let (y, weights) = layer.f_forward_with_weights(&x, &x, &x, None, false)?;
    /// assert_eq!((y.size(), weights.size()), (vec![2, 5, 32], vec![2, 4, 5, 5]));
    /// // PyTorch averages over heads, unless told not to.
    /// assert_eq!(weights.mean_dim(1, false, None).size(), [2, 5, 5]);
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
        let heads = self.heads([query, key, value])?;
        let (found, weights) =
            self.options.attend_with_weights(&self.noise, heads.each_ref(), mask, train)?;
        Ok((self.mix(&found)?, weights))
    }

    /// The heads' queries, keys and values, `[N, heads, T, head_dim]`.
    fn heads(&self, inputs: [&Tensor; 3]) -> Result<[Tensor; 3]> {
        inputs.iter().zip(self.features).try_for_each(|(x, features)| check(x, features))?;
        let rows = rows(self.embed_dim, self.num_heads, self.kv_heads);
        let [query, key, value] = self.in_proj.project(inputs, rows, self.in_proj_bias.as_ref())?;
        let head_dim = self.embed_dim / self.num_heads;
        // From [N, T, heads * head_dim].
        let split = |x: Tensor| x.f_unflatten(-1, [-1, head_dim])?.f_transpose(1, 2);
        Ok([split(query)?, split(key)?, split(value)?])
    }

    /// The last projection of what the heads found.
    fn mix(&self, found: &Tensor) -> Result<Tensor> {
        let found = found.f_transpose(1, 2)?.f_flatten(2, 3)?;
        Ok(found.f_linear(&self.out_proj.ws, self.out_proj.bs.as_ref())?)
    }
}

fn check(x: &Tensor, features: i64) -> Result<()> {
    check_strided(x)?;
    let shape = x.size();
    match shape[..] {
        [_, _, found] if found == features => Ok(()),
        _ => Err(Error::Sequences { features, shape }),
    }
}

/// Self-attention.
impl nn::ModuleT for MultiHeadAttention {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch prints a layer:
/// `MultiHeadAttention(embed_dim=32, num_heads=4, kv_heads=4, p=0.1, causal=false)`.
impl fmt::Display for MultiHeadAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MultiHeadAttention { embed_dim, num_heads, kv_heads, options, .. } = self;
        let (p, causal) = (self.p(), options.causal);
        write!(
            f,
            "MultiHeadAttention(embed_dim={embed_dim}, num_heads={num_heads}, kv_heads={kv_heads}, \
             p={p:?}, causal={causal})"
        )
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for MultiHeadAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
