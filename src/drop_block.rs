//! DropBlock: dropout of whole squares of a feature map.

use std::fmt;

use tch::{Device, Kind, Tensor, nn};

use crate::effect::{Affine, Effect};
use crate::error::{Error, Result, or_panic_in};
use crate::kind::real_kind;
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;

/// Drops blocks of a feature map (Ghiasi, Lin and Le 2018): `torchvision.ops.drop_block2d` and `3d`, and the
/// same in one dimension.
///
/// Neighbouring activations are correlated, so dropping single elements removes little information; dropping
/// blocks removes more. In training,
///
/// ```text
/// gamma = p · H W / (b² (H - b + 1) (W - b + 1))
/// seed ~ Bernoulli(gamma)               for each place where a whole b × b block fits
/// mask = 0 in the block of each seed, else 1
/// y = x * mask * count(mask) / count_ones(mask)
/// ```
///
/// Each sample and channel has blocks of its own. `b` is `block_size`, or the smallest of `D`, `H` and `W` if
/// that is smaller. With this `gamma`, the expected share of dropped elements would be `p` if no blocks
/// overlapped. They do, so it is close to a small `p`, and below a large one: even `p = 1` keeps elements,
/// unless the block is the whole map.
///
/// Kept elements are divided by the share actually kept in the batch, and not by `1 - p`. In folded passes of
/// [Monte Carlo dropout](crate::MonteCarlo), each pass is rescaled by itself.
///
/// torchvision's functions fail for an even `block_size`; this layer takes any.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::DropBlock;
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let model = nn::seq_t()
///     .add(nn::conv2d(vs.root() / "conv", 3, 16, 3, Default::default()))
///     .add(DropBlock::new(0.1, 7)?);
/// let x = Tensor::randn([8, 3, 32, 32], (Kind::Float, Device::Cpu));
/// assert_eq!(model.forward_t(&x, true).size(), [8, 16, 30, 30]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct DropBlock {
    block_size: i64,
    noise: Noise,
}

impl DropBlock {
    /// Drops blocks of `block_size` elements in each of the dimensions after `[N, C]`.
    ///
    /// ```
    /// let layer = tch_dropout::DropBlock::new(0.1, 7)?;
    /// assert_eq!(layer.to_string(), "DropBlock(p=0.1, block_size=7)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`] for a `p` outside `[0, 1]`, [`Error::TooSmall`] for a `block_size` below 1.
    pub fn new(p: f64, block_size: i64) -> Result<Self> {
        if block_size < 1 {
            return Err(Error::TooSmall { name: "block_size", least: 1, got: block_size });
        }
        Ok(DropBlock { block_size, noise: Noise::new(p, NoiseShape::Elements, false)? })
    }

    /// The length of a block's sides, in an input that is at least as large.
    ///
    /// ```
    /// assert_eq!(tch_dropout::DropBlock::new(0.1, 7)?.block_size(), 7);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn block_size(&self) -> i64 {
        self.block_size
    }

    noise_methods!();

    /// The forward pass. [`forward_t`] does the same, but panics on an error.
    ///
    /// # Shapes
    ///
    /// `x` is `[N, C, L]`, `[N, C, H, W]` or `[N, C, D, H, W]`, of a floating-point or complex kind. The output
    /// has the same shape, device, memory format and kind.
    ///
    /// The gradient with respect to `x` is the output's gradient times the rescaled mask. With `train` false,
    /// `p = 0` or an empty `x`, nothing is drawn, and the output is `x` itself and shares its memory. Under
    /// [`monte_carlo`](crate::monte_carlo), the layer draws in evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::DropBlock;
    ///
    /// let layer = DropBlock::new(0.1, 7)?;
    /// let matrix = Tensor::ones([3, 4], (Kind::Float, Device::Cpu));
    /// let error = layer.f_forward_t(&matrix, true).unwrap_err().to_string();
    /// let shapes = "[N, C, L], [N, C, H, W] or [N, C, D, H, W]";
    /// assert_eq!(error, format!("DropBlock needs an input of shape {shapes}, got [3, 4]"));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InputShape`] for another number of dimensions, [`Error::Kind`] for integers, and an `x` that is
    /// not strided (in evaluation too); a layer with a seed in a model that is traced in training.
    ///
    /// [`forward_t`]: https://docs.rs/tch/latest/tch/nn/trait.ModuleT.html#tymethod.forward_t
    pub fn f_forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.noise.check(x)?;
        let kind = real_kind(x.kind()).ok_or(Error::Kind(x.kind()))?;
        if !(3..=5).contains(&x.dim()) {
            let expected = "[N, C, L], [N, C, H, W] or [N, C, D, H, W]".to_owned();
            return Err(Error::InputShape { layer: "DropBlock", expected, shape: x.size() });
        }
        // What is kept is rescaled by the share of the whole batch.
        let p = self.noise.effective_p(x, train, true)?;
        if p.is_zero() {
            return Ok(x.shallow_clone());
        }
        Ok(x.f_mul(&self.draw_normalized_mask(x, p.get(), kind)?)?)
    }

    fn draw_normalized_mask(&self, x: &Tensor, p: f64, kind: Kind) -> Result<Tensor> {
        let size = x.size();
        let spatial = &size[2..];
        let block = spatial.iter().fold(self.block_size, |block, &n| block.min(n));
        let share = |&n: &i64| n as f64 / (block * (n - block + 1)) as f64;
        // Each factor of gamma is at most 1, but rounded.
        let gamma = (p * spatial.iter().map(share).product::<f64>()).min(1.0);
        // A scale that is too large for half precision must not meet the mask's zeros there.
        let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let mask = if x.device() == Device::Cpu {
            let (seeds, passes) = self.noise.draw_elements(x, gamma, Effect::Drop, Kind::Uint8)?;
            normalized(grown(&seeds, spatial, block)?.f_to_kind(wide)?, passes, 1.0)?
        } else {
            let negative = Effect::Affine(|_| Affine::times(-1.0));
            let (seeds, passes) = self.noise.draw_elements(x, gamma, negative, wide)?;
            normalized(pooled(&seeds, spatial, block)?, passes, -1.0)?
        };
        Ok(mask.f_to_kind(kind)?)
    }
}

/// Grows each zero of the seeds, of which it is the first corner, to a block, if a whole one fits there.
///
/// As in a separable filter, one dimension follows another. Without seeds in the last `block - 1` places of each
/// dimension, no block reaches beyond its row or plane, so that all of them can be one long row, in which a run
/// of `n` elements is joined with the run of `n` before it, and so doubled.
fn grown(seeds: &Tensor, spatial: &[i64], block: i64) -> Result<Tensor> {
    let edge = Tensor::f_zeros(spatial, (Kind::Uint8, seeds.device()))?;
    for (dim, &n) in (0..).zip(spatial) {
        let _ = edge.f_narrow(dim, n - block + 1, block - 1)?.f_fill_(1)?;
    }
    let seeds = seeds.f_bitwise_or_tensor(&edge)?;
    let strides: Vec<i64> =
        (1..=spatial.len()).map(|dim| spatial[dim..].iter().product()).collect();
    let before = (block - 1) * strides.iter().sum::<i64>();
    let mut row = seeds.f_flatten(0, -1)?.f_pad([before, 0], "constant", 1.0)?;
    for stride in strides {
        let mut run = 1;
        while run < block {
            let step = run.min(block - run);
            let later = row.f_slice(0, step * stride, None, 1)?;
            row = later.f_bitwise_and_tensor(&row.f_slice(0, 0, -step * stride, 1)?)?;
            run += step;
        }
    }
    Ok(row.f_reshape_as(&seeds)?)
}

/// The same for a GPU, in fewer operations, of which each is a launch: the largest number of each window, where -1 is
/// kept and 0 is a seed.
fn pooled(seeds: &Tensor, spatial: &[i64], block: i64) -> Result<Tensor> {
    let mut corners = seeds.shallow_clone();
    for (dim, &n) in (2..).zip(spatial) {
        corners = corners.f_narrow(dim, 0, n - block + 1)?;
    }
    // A window is padded by half of it at most.
    let half = block / 2;
    let padding = vec![block - 1 - half; 2 * spatial.len()];
    let padded = corners.f_pad(padding, "constant", -1.0)?;
    Ok(match spatial.len() {
        1 => padded.f_max_pool1d([block], [1], [half], [1], false)?,
        2 => padded.f_max_pool2d([block; 2], [1; 2], [half; 2], [1; 2], false)?,
        _ => padded.f_max_pool3d([block; 3], [1; 3], [half; 3], [1; 3], false)?,
    })
}

/// The mask of each pass, divided by the share that it keeps: `count(mask) / count_ones(mask)`. What is kept is `one`,
/// which may be negative.
fn normalized(mask: Tensor, passes: i64, one: f64) -> Result<Tensor> {
    let mut rows = mask.f_reshape([passes, -1])?;
    let mut share = rows.f_mean_dim([1i64].as_slice(), true, rows.kind())?;
    // Where nothing is kept, 0 is divided by this. To any other share it adds nothing.
    let share = share.f_add_scalar_(one * f64::from(f32::MIN_POSITIVE))?;
    Ok(rows.f_div_(&share)?.f_reshape_as(&mask)?)
}

impl nn::ModuleT for DropBlock {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_forward_t(x, train))
    }
}

/// As torchvision prints a layer: `DropBlock(p=0.1, block_size=7)`.
impl fmt::Display for DropBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DropBlock(p={:?}, block_size={})", self.p(), self.block_size)
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for DropBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{grown, normalized, pooled};

    #[test]
    fn a_gpu_drops_the_blocks_that_a_cpu_drops() {
        let sizes: [&[i64]; 5] =
            [&[2, 3, 11], &[2, 3, 9, 12], &[3, 2, 1, 6], &[2, 2, 5, 6, 7], &[1, 2, 3, 9, 4]];
        for size in sizes {
            let least = size[2..].iter().copied().min().unwrap();
            for (block, p) in (1..=least).flat_map(|block| [(block, 0.1), (block, 0.6)]) {
                let seeds = Tensor::rand(size, (Kind::Float, Device::Cpu)).ge(p);
                let cpus = grown(&seeds.to_kind(Kind::Uint8), &size[2..], block).unwrap();
                let gpus = pooled(&-seeds.to_kind(Kind::Float), &size[2..], block).unwrap();
                assert_eq!(cpus.to_kind(Kind::Float), -&gpus, "{size:?}, {block}");
                let cpus = normalized(cpus.to_kind(Kind::Float), 1, 1.0).unwrap();
                assert_eq!(cpus, normalized(gpus, 1, -1.0).unwrap());
            }
        }
    }

    #[test]
    fn a_pass_that_keeps_nothing_is_zeros_and_the_others_have_their_mean() {
        let mask = Tensor::from_slice(&[0f32, 0.0, 0.0, 1.0, 0.0, 1.0]).reshape([3, 1, 2]);
        let expected = Tensor::from_slice(&[0f32, 0.0, 0.0, 2.0, 0.0, 2.0]).reshape([3, 1, 2]);
        assert_eq!(normalized(mask.copy(), 3, 1.0).unwrap(), expected);
        assert_eq!(normalized(-mask, 3, -1.0).unwrap(), expected);
    }
}
