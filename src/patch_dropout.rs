//! PatchDropout: a transformer sees a random part of the tokens, in training.

use std::fmt;

use tch::{Device, Kind, Tensor, nn};

use crate::error::{Error, Result, or_panic_in};
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::probability::Probability;
use crate::strided::check_strided;
use crate::trace;

/// Drops tokens of a sequence, and makes it shorter (Liu et al. 2022): open_clip's and timm's `PatchDropout`.
///
/// In training, each sample keeps `max(1, floor(T (1 - p)))` of its `T` tokens, all choices being equally
/// likely. A shorter sequence takes less time and memory: that is what it is for, besides regularization. Add
/// position embeddings before it. Nothing is rescaled. In evaluation, all tokens stay.
///
/// The kept tokens stay in their order, as with timm's `ordered=True`. Their number is that of the formula. timm and
/// open_clip compute `int(T * (1 - p))` in floating point, and keep one token less where that is just below a whole
/// number: `p = 0.8` keeps 2 of 10 tokens here, and 1 there.
///
/// ```
/// use tch::{nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::PatchDropout;
///
/// let layer = PatchDropout::new(0.5)?.with_prefix_tokens(1)?; // The class token stays.
/// let tokens = Tensor::randn([8, 1 + 196, 64], (Kind::Float, Device::Cpu));
/// assert_eq!(layer.forward_t(&tokens, true).size(), [8, 1 + 98, 64]);
/// assert_eq!(layer.forward_t(&tokens, false), tokens);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct PatchDropout {
    prefix_tokens: i64,
    noise: Noise,
}

impl PatchDropout {
    /// Drops any of the tokens.
    ///
    /// ```
    /// let layer = tch_dropout::PatchDropout::new(0.5)?;
    /// assert_eq!(layer.to_string(), "PatchDropout(p=0.5, prefix_tokens=0)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`] for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(PatchDropout { prefix_tokens: 0, noise: Noise::new(p, NoiseShape::Elements, false)? })
    }

    /// Keeps the first `tokens` of each sequence, in addition: a class token, or registers. (open_clip's
    /// `exclude_first_token=True` and timm's default keep one.)
    ///
    /// ```
    /// let layer = tch_dropout::PatchDropout::new(0.5)?.with_prefix_tokens(1)?;
    /// assert_eq!(layer.to_string(), "PatchDropout(p=0.5, prefix_tokens=1)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`] for a negative number.
    pub fn with_prefix_tokens(self, tokens: i64) -> Result<Self> {
        if tokens < 0 {
            return Err(Error::TooSmall { name: "prefix_tokens", least: 0, got: tokens });
        }
        Ok(PatchDropout { prefix_tokens: tokens, ..self })
    }

    /// How many tokens at the beginning of each sequence always stay.
    ///
    /// ```
    /// assert_eq!(tch_dropout::PatchDropout::new(0.5)?.prefix_tokens(), 0);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn prefix_tokens(&self) -> i64 {
        self.prefix_tokens
    }

    noise_methods!();

    /// The forward pass. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, T, ...]`, usually `[N, T, C]`, of a floating-point, complex or integer kind; the output is
    /// `[N, K, ...]`, of the same kind. A dropped token's gradient is 0.
    ///
    /// With `train` false, with `p = 0`, with an empty `x`, and where all tokens are kept, nothing is drawn, and
    /// the output is `x` itself. Under [`monte_carlo`](crate::monte_carlo), the layer draws in evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::PatchDropout;
    ///
    /// let layer = PatchDropout::new(0.5)?.with_prefix_tokens(2)?;
    /// let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
    /// assert_eq!(layer.f_forward_t(&ones(&[8, 12, 64]), true)?.size(), [8, 7, 64]);
    /// assert!(layer.f_forward_t(&ones(&[8, 1, 64]), true).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InputShape`] for an `x` of fewer than two dimensions, or with fewer tokens than the prefix; an `x`
    /// that is not strided (in evaluation too); a layer with a seed in a model that is traced in training.
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self.draw_subset(x, train)? {
            Some(indices) => gather_tokens(x, &indices),
            None => Ok(x.shallow_clone()),
        }
    }

    /// The indices of the tokens that are kept, to [gather](gather_tokens) more than one tensor by: `[N, K]`, of
    /// kind `Int64`, in ascending order. In evaluation, those of all `T` tokens.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::{gather_tokens, PatchDropout};
    ///
    /// # let train = true;
    /// let options = (Kind::Float, Device::Cpu);
    /// let (patches, targets) = (Tensor::randn([8, 196, 64], options), Tensor::zeros([8, 196], options));
    /// let positions = Tensor::randn([1, 196, 64], options); // The whole batch shares them.
    ///
    /// let indices = PatchDropout::new(0.75)?.draw_indices(&patches, train)?;
    /// let tokens = gather_tokens(&patches, &indices)? + gather_tokens(&positions, &indices)?;
    /// let targets = gather_tokens(&targets, &indices)?;
    /// assert_eq!((tokens.size(), targets.size()), (vec![8, 49, 64], vec![8, 49]));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`f_forward_t`](Self::f_forward_t).
    pub fn draw_indices(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self.draw_subset(x, train)? {
            Some(indices) => Ok(indices),
            None => {
                let (samples, tokens) = (x.size()[0], x.size()[1]);
                let all = Tensor::f_arange(tokens, (Kind::Int64, x.device()))?;
                Ok(all.f_expand([samples, tokens], false)?)
            }
        }
    }

    /// The indices of the kept tokens, unless all are kept.
    fn draw_subset(&self, x: &Tensor, train: bool) -> Result<Option<Tensor>> {
        self.noise.check(x)?;
        let (size, prefix) = (x.size(), self.prefix_tokens);
        if size.len() < 2 || size[1] < prefix {
            let expected = match prefix {
                0 => "[N, T, ...]".to_owned(),
                _ => format!("[N, T, ...] with T >= {prefix}, the number of prefix tokens"),
            };
            return Err(Error::InputShape { layer: "PatchDropout", expected, shape: size });
        }
        let p = self.noise.effective_p(x, train, false)?;
        let patches = size[1] - prefix;
        let num_keep = num_keep(patches, p);
        if num_keep >= patches {
            return Ok(None);
        }
        let keys = self.random_keys(x)?;
        if prefix > 0 {
            let _ = keys.f_narrow(1, 0, prefix)?.f_fill_(f64::INFINITY)?;
        }
        let (_, indices) = keys.f_topk(prefix + num_keep, 1, true, false)?;
        // Sorted in their order: all of them, from the least on. It takes a GPU fewer kernels than `sort`.
        Ok(Some(indices.f_topk(prefix + num_keep, 1, false, true)?.0))
    }

    /// A random number for each token. (Two of a sample may be equal, by a rare chance; then either may stay.)
    fn random_keys(&self, x: &Tensor) -> Result<Tensor> {
        let mut tokens = x.shallow_clone();
        while tokens.dim() > 2 {
            tokens = tokens.f_select(2, 0)?;
        }
        self.noise.draw_keys(&tokens)
    }
}

/// `max(1, floor(patches (1 - p)))` for the decimal number that `p` was rounded from.
///
/// 0.8 is a little more than 4/5 in binary, so that 10 tokens times `1 - p` are a little less than 2. All roundings
/// together make up for less than `patches` times this.
fn num_keep(patches: i64, p: Probability) -> i64 {
    const ROUNDING: f64 = 2.0 * f64::EPSILON;
    let patches = patches as f64;
    ((patches * (1.0 - p.get()) + patches * ROUNDING) as i64).max(1)
}

/// The tokens of `x` with these indices, as [`PatchDropout::draw_indices`] returns them.
///
/// # Shapes
///
/// `indices` is `[N, K]`, of kind `Int64`. `x` is `[N, T, ...]`, or `[1, T, ...]` for what the batch shares, such as
/// position embeddings. The result is `[N, K, ...]`.
///
/// ```
/// use tch::Tensor;
/// use tch_dropout::gather_tokens;
///
/// let x = Tensor::from_slice(&[10, 11, 12, 20, 21, 22]).reshape([2, 3]);
/// let indices = Tensor::from_slice(&[0i64, 2, 1, 2]).reshape([2, 2]);
/// let expected = Tensor::from_slice(&[10, 12, 21, 22]).reshape([2, 2]);
/// assert_eq!(gather_tokens(&x, &indices)?, expected);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::InputShape`] for an `x` that does not have as many samples as the indices, or one; libtorch's for
/// indices that are out of range or of another kind.
pub fn gather_tokens(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    check_strided(x)?;
    check_strided(indices)?;
    let (samples, _) = indices.size2()?;
    let size = x.size();
    if size.len() < 2 || ![1, samples].contains(&size[0]) {
        let expected = format!("[{samples}, T, ...] or [1, T, ...]");
        return Err(Error::InputShape { layer: "gather_tokens", expected, shape: size });
    }
    if size[0] == 1 && samples != 1 {
        return Ok(x.f_squeeze_dim(0)?.f_index(&[Some(indices)])?);
    }
    if x.device() != Device::Cpu || trace::is_tracing() {
        // One operation, in which a trace records no batch size. A CPU takes longer for it.
        let mut index = indices.shallow_clone();
        for _ in 2..size.len() {
            index = index.f_unsqueeze(-1)?;
        }
        let size = [&[-1, -1], &size[2..]].concat();
        return Ok(x.f_gather(1, &index.f_expand(size, false)?, false)?);
    }
    let sample = Tensor::f_arange(samples, (Kind::Int64, x.device()))?.f_unsqueeze(1)?;
    Ok(x.f_index(&[Some(&sample), Some(indices)])?)
}

impl nn::ModuleT for PatchDropout {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As PyTorch would print it: `PatchDropout(p=0.5, prefix_tokens=1)`.
impl fmt::Display for PatchDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PatchDropout(p={:?}, prefix_tokens={})", self.p(), self.prefix_tokens)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for PatchDropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
