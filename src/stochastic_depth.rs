//! Stochastic depth: a residual branch that skips the samples that it would drop.

use std::fmt;

use tch::{Device, Tensor};

use crate::error::{Error, Result, or_panic_in};
use crate::kind::mask_kind;
use crate::monte_carlo::scope;
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_not_nested;
use crate::trace;

/// Stochastic depth around a residual branch `f` (Huang et al. 2016): in training, `x + f(x) * mask / (1 - p)`
/// with a draw per sample, where `f` runs only on the samples that are kept; in evaluation, `x + f(x)`.
///
/// torchvision's `StochasticDepth(p, "row")` and timm's `DropPath(p)` compute the branch for the whole batch
/// and then drop samples; so does [`TrueDropout::samples`](crate::DropoutLayer::samples), for
/// `x + layer.forward_t(&f(x), train)`. The distribution is the same, and given the same seed the values are,
/// too (to rounding), but here a dropped sample takes no time. Gathering the kept samples takes some
/// microseconds; for a branch as cheap as that, use [`TrueDropout::samples`](crate::DropoutLayer::samples).
///
/// The branch sees other batch sizes than the rest of the model, and batch norm in it computes its statistics over what
/// the branch sees. That is always **two samples at least**, or all if the batch has fewer: where fewer are
/// kept, the branch also runs on dropped ones, which count with weight 0. So batch norm has a variance to compute, and
/// all parameters have gradients in every step, if only zeros, as data-parallel training asks of them. It costs a
/// branch over one or two samples where it could be skipped altogether; in a large batch that hardly ever happens, but
/// [`batch`](Self::batch) pays for two whenever it drops. As in the peers, infinity times that 0 is NaN.
///
/// Under [`monte_carlo`](crate::monte_carlo) and in a trace the branch runs on the whole batch, so that layers
/// in it can be folded, and the trace serves any draw.
///
/// ```
/// use tch::{nn, nn::Module, Device, Kind, Tensor};
/// use tch_dropout::StochasticDepth;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let linear = nn::linear(vs.root() / "fc", 8, 8, Default::default());
/// let layer = StochasticDepth::new(0.5)?;
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// let y = layer.forward(&x, |kept| linear.forward(kept).relu(), true);
/// assert_eq!(y.size(), [16, 8]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct StochasticDepth {
    noise: Noise,
}

impl StochasticDepth {
    /// One draw per sample.
    ///
    /// ```
    /// let layer = tch_dropout::StochasticDepth::new(0.1)?;
    /// assert_eq!(layer.to_string(), "StochasticDepth(p=0.1, samples)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`] for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(StochasticDepth { noise: Noise::new(p, NoiseShape::Samples, true)? })
    }

    /// One draw for the whole batch, as in the paper: the branch runs on all samples, or on two that do not count.
    /// This is torchvision's `StochasticDepth(p, "batch")`, and LayerDrop (Fan et al. 2020) for a layer of a
    /// transformer.
    ///
    /// ```
    /// let layer = tch_dropout::StochasticDepth::batch(0.1)?;
    /// assert_eq!(layer.to_string(), "StochasticDepth(p=0.1, batch)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn batch(p: f64) -> Result<Self> {
        Ok(StochasticDepth { noise: Noise::new(p, NoiseShape::Batch, true)? })
    }

    noise_methods!();

    /// The forward pass of `x` and a branch: see [`f_forward`](Self::f_forward).
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::StochasticDepth;
    ///
    /// let layer = StochasticDepth::new(0.5)?;
    /// let x = Tensor::ones([100, 8], (Kind::Float, Device::Cpu));
    /// let y = layer.forward(&x, |kept| kept * 3.0, true); // Rows of 1 (dropped) and of 1 + 3 / 0.5.
    /// assert!(bool::try_from((y.eq(1.0).logical_or(&y.eq(7.0))).all()).unwrap());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Where [`f_forward`](Self::f_forward) returns an error.
    #[track_caller]
    pub fn forward<F>(&self, x: &Tensor, branch: F, train: bool) -> Tensor
    where
        F: FnOnce(&Tensor) -> Tensor,
    {
        or_panic_in(self, self.f_forward(x, |kept| Ok(branch(kept)), train))
    }

    /// Like [`forward`](Self::forward), but the branch returns a `Result`, and so does this.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, ...]`. The branch gets the `K` kept samples of it, `[K, ...]` in `x`'s memory format, where `K` is
    /// at least `min(2, N)`, and returns a tensor of that shape. The output has `x`'s shape and memory format, and
    /// the kind of the sum.
    ///
    /// The gradient of `x` comes through the sum, and for kept samples through the branch as well. With `train`
    /// false, `p = 0` or an empty `x`, nothing is drawn, and the output is `x + branch(x)`.
    ///
    /// `K` must be known before the branch runs. So the mask is drawn on the CPU, for an `x` on a GPU too, and the CPU
    /// waits for nothing.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::StochasticDepth;
    ///
    /// let layer = StochasticDepth::new(0.1)?;
    /// let options = (Kind::Float, Device::Cpu);
    /// let (x, weight) = (Tensor::randn([16, 8], options), Tensor::randn([8, 8], options));
    /// let y = layer.f_forward(&x, |kept| Ok(kept.f_matmul(&weight)?), true)?;
    ///
    /// let error = layer.f_forward(&x, |kept| Ok(kept.sum(None)), false).unwrap_err();
    /// let text = "the branch must return a tensor of its input's shape [16, 8], got []";
    /// assert_eq!(error.to_string(), text);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An `x` without dimensions, or one that is not strided or has a kind that cannot be multiplied (in evaluation
    /// too); a layer with a seed in a model that is traced in training. After a step has been taken: the branch's
    /// own, and [`Error::BranchShape`].
    pub fn f_forward<F>(&self, x: &Tensor, branch: F, train: bool) -> Result<Tensor>
    where
        F: FnOnce(&Tensor) -> Result<Tensor>,
    {
        if scope::is_active() || trace::is_tracing() {
            let mask = self.noise.draw_mask_if_active(x, train)?;
            let mut y = run(branch, x)?;
            if let Some(mask) = mask {
                y = y.f_mul(&mask)?;
            }
            return Ok(x.f_add(&y)?);
        }
        let Some(factors) = self.noise.draw_factors(x, train)? else {
            return Ok(x.f_add(&run(branch, x)?)?);
        };
        let samples = x.size().first().map_or(1, |&n| n as usize);
        let factors = if factors.len() == samples { factors } else { vec![factors[0]; samples] };
        let seen = seen(&factors);
        if seen.len() == samples {
            return Ok(x.f_add(&times(&run(branch, x)?, &factors)?)?);
        }
        let of_seen: Vec<f64> = seen.iter().map(|&sample| factors[sample as usize]).collect();
        let seen = copied(&Tensor::from_slice(&seen), x.device())?;
        add_to_samples(x, &seen, |x| times(&run(branch, x)?, &of_seen))
    }
}

/// The samples that the branch sees: those that are kept, and as many others as it takes for two.
fn seen(factors: &[f64]) -> Vec<i64> {
    let is_kept = |&factor: &f64| factor != 0.0;
    let mut others = 2usize.saturating_sub(factors.iter().filter(|factor| is_kept(factor)).count());
    let mut is_seen = |factor| {
        let is_other = !is_kept(factor) && others > 0;
        others -= usize::from(is_other);
        is_kept(factor) || is_other
    };
    (0..).zip(factors).filter(|(_, factor)| is_seen(factor)).map(|(sample, _)| sample).collect()
}

/// `y`, with each sample multiplied by its factor.
fn times(y: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let kind = mask_kind(y.kind(), true)?;
    if factors.iter().all(|factor| *factor == factors[0]) {
        // libtorch takes a single number from the CPU, without a copy.
        return Ok(y.f_mul(&Tensor::from(factors[0]).f_to_kind(kind)?)?);
    }
    let mut size = vec![1; y.dim()];
    size[0] = factors.len() as i64;
    let factors = Tensor::from_slice(factors).f_to_kind(kind)?.f_reshape(size)?;
    Ok(y.f_mul(&copied(&factors, y.device())?)?)
}

/// A tensor of the CPU on this device. CUDA takes what it copies from such memory before it returns, so the CPU need
/// not wait for the copy.
fn copied(x: &Tensor, device: Device) -> Result<Tensor> {
    Ok(x.f_to_device_(device, x.kind(), device.is_cuda(), false)?)
}

/// What the branch makes of `x`, if it has the right shape.
fn run(branch: impl FnOnce(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
    let y = branch(x)?;
    check_not_nested(&y)?;
    if y.size() == x.size() {
        return Ok(y);
    }
    Err(Error::BranchShape { input: x.size(), output: y.size() })
}

/// `x`, with `f` of these samples added to them.
fn add_to_samples(
    x: &Tensor,
    samples: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    // What libtorch indexes becomes contiguous. Indexed in the order of memory, it keeps its memory format.
    let (order, inverse) = memory_order(x);
    let (in_order, dim) = (x.f_permute(&order)?, inverse[0]);
    let y = f(&in_order.f_index_select(dim, samples)?.f_permute(&inverse)?)?;
    if y.kind() == x.kind() {
        let sum = in_order.f_index_add(dim, samples, &y.f_permute(&order)?)?;
        return Ok(sum.f_permute(&inverse)?);
    }
    // The sum has the wider kind, as in `x + y`.
    let mut sparse = Tensor::f_zeros(x.size(), (y.kind(), y.device()))?;
    Ok(x.f_add(&sparse.f_index_copy_(0, samples, &y)?)?)
}

/// The dimensions of `x` in the order of its memory, the outermost first, and for each dimension its place there.
fn memory_order(x: &Tensor) -> (Vec<i64>, Vec<i64>) {
    let strides = x.stride();
    let mut order: Vec<usize> = (0..strides.len()).collect();
    order.sort_by_key(|&dim| -strides[dim]);
    let mut places = vec![0; order.len()];
    (0..).zip(&order).for_each(|(place, &dim)| places[dim] = place);
    (order.into_iter().map(|dim| dim as i64).collect(), places)
}

/// The probability of each of `depth` residual blocks, which rises in a straight line from 0 for the first to `p`
/// for the last: timm's `torch.linspace(0, p, depth)`, and the rule of torchvision's ConvNeXt and Swin.
///
/// Two other rules are shifted by one block. Huang et al. use `p · l / L` for block `l = 1, ..., L`, so the first
/// may be dropped too: take `depth + 1` rates and skip the first. torchvision's EfficientNet starts at 0 and never
/// reaches `p`: take `depth + 1` rates and drop the last.
///
/// ```
/// use tch_dropout::{stochastic_depth_rates, StochasticDepth};
///
/// let (p, depth) = (0.5, 5);
/// let timm: Vec<f64> = stochastic_depth_rates(p, depth).collect();
/// let huang: Vec<f64> = stochastic_depth_rates(p, depth + 1).skip(1).collect();
/// let efficient_net: Vec<f64> = stochastic_depth_rates(p, depth + 1).take(depth).collect();
/// assert_eq!(timm, [0.0, 0.125, 0.25, 0.375, 0.5]);
/// assert_eq!(huang, [0.1, 0.2, 0.3, 0.4, 0.5]);
/// assert_eq!(efficient_net, [0.0, 0.1, 0.2, 0.3, 0.4]);
///
/// let layers: Result<Vec<_>, _> = stochastic_depth_rates(p, depth).map(StochasticDepth::new).collect();
/// # assert_eq!(layers?.len(), 5);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub fn stochastic_depth_rates(p: f64, depth: usize) -> impl Iterator<Item = f64> {
    let last = depth.saturating_sub(1).max(1) as f64;
    // In this order, the last one is `p` itself, not rounded.
    (0..depth).map(move |block| p * (block as f64 / last))
}

/// Like torchvision's, with the noise shape for its mode: `StochasticDepth(p=0.1, samples)`.
impl fmt::Display for StochasticDepth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StochasticDepth(p={:?}, {})", self.p(), self.noise.shape)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for StochasticDepth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
