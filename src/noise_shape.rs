//! The dimensions along which one draw is shared.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which elements of an input share one draw, and so are dropped or kept together.
///
/// A mask has size 1 in the dimensions along which a draw is shared, and the input's size in the others;
/// multiplying broadcasts it. For an input of shape `[N, C, ...]`:
///
/// | noise shape | mask | known elsewhere as |
/// | --- | --- | --- |
/// | [`Columns`](Self::Columns) | `[1, C, 1, ...]` | Keras `noise_shape=(1, C)` |
/// | [`Elements`](Self::Elements) | `[N, C, ...]` | `torch.nn.Dropout`, [`Tensor::dropout`] |
/// | [`Channels`](Self::Channels) | `[N, C, 1, ...]` | `torch.nn.Dropout1d`, `2d`, `3d`; [`Tensor::feature_dropout`]; SpatialDropout |
/// | [`Samples`](Self::Samples) | `[N, 1, ...]` | stochastic depth, DropPath |
/// | [`Batch`](Self::Batch) | `[1, 1, ...]` | `torchvision.ops.StochasticDepth(p, "batch")` |
/// | [`Shared`](Self::Shared) | 1 in the named dimensions | Flax `broadcast_dims`; variational dropout |
/// | a weight's own shape | the weight's | [`DropConnect`](crate::DropConnect) |
///
/// `C` is dimension 1. **On a sequence `[N, T, C]`, columns and channels drop whole time steps.** There,
/// `Shared(vec![1])` drops features for each sample, and `Shared(vec![0, 1])` for the whole batch.
///
/// ```
/// # use tch_dropout::NoiseShape;
/// let size = [32, 100, 256]; // [N, T, C]
/// assert_eq!(NoiseShape::Columns.resolve(&size)?, [1, 100, 1]);
/// assert_eq!(NoiseShape::Elements.resolve(&size)?, [32, 100, 256]);
/// assert_eq!(NoiseShape::Channels.resolve(&size)?, [32, 100, 1]);
/// assert_eq!(NoiseShape::Samples.resolve(&size)?, [32, 1, 1]);
/// assert_eq!(NoiseShape::Batch.resolve(&size)?, [1, 1, 1]);
/// // Variational dropout: one mask for all time steps of a sequence.
/// assert_eq!(NoiseShape::Shared(vec![1]).resolve(&size)?, [32, 1, 256]);
/// assert_eq!(NoiseShape::Shared(vec![-2]).resolve(&size)?, [32, 1, 256]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// [`Tensor::dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.dropout
/// [`Tensor::feature_dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.feature_dropout
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoiseShape {
    /// One draw per column of dimension 1, shared by the whole batch: as in the article that this crate began
    /// with, "Dropout is drop-dead easy to implement".
    Columns,
    /// One draw per element: the usual dropout (Srivastava et al. 2014).
    Elements,
    /// One draw per sample and channel, shared by all later dimensions (Tompson et al. 2015).
    Channels,
    /// One draw per sample (Huang et al. 2016).
    Samples,
    /// One draw per forward pass.
    Batch,
    /// Shared over the dimensions named here; negative ones count from the end. Shared over the time
    /// steps of `[N, T, C]`, this is variational dropout (Gal and Ghahramani 2016).
    Shared(Vec<i64>),
}

impl NoiseShape {
    /// The shape of the mask for an input of shape `size`.
    ///
    /// ```
    /// # use tch_dropout::NoiseShape;
    /// assert_eq!(NoiseShape::Channels.resolve(&[32, 64, 56, 56])?, [32, 64, 1, 1]);
    /// assert!(NoiseShape::Channels.resolve(&[64]).is_err());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TooFewDimensions`], [`Error::DimensionOutOfRange`] or
    /// [`Error::DimensionNamedTwice`], each naming `size`.
    pub fn resolve(&self, size: &[i64]) -> Result<Vec<i64>> {
        let needed = self.min_rank();
        if size.len() < needed {
            return Err(Error::TooFewDimensions {
                noise: self.name(),
                needed,
                shape: size.to_vec(),
            });
        }
        let mut noise = size.to_vec();
        match self {
            NoiseShape::Columns => {
                noise.fill(1);
                noise[1] = size[1];
            }
            NoiseShape::Elements => {}
            NoiseShape::Channels => noise[2..].fill(1),
            NoiseShape::Samples => noise[1..].fill(1),
            NoiseShape::Batch => noise.fill(1),
            NoiseShape::Shared(dimensions) => {
                for dimension in normalize_dims(dimensions, size)? {
                    noise[dimension] = 1;
                }
            }
        }
        Ok(noise)
    }

    /// For each dimension of an input of this rank, whether a draw is shared along it. The input must fit.
    pub(crate) fn shared_dims(&self, rank: usize) -> Vec<bool> {
        let size = self.resolve(&vec![2; rank]).expect("the input has been resolved");
        size.iter().map(|&size| size == 1).collect()
    }

    fn name(&self) -> &'static str {
        match self {
            NoiseShape::Columns => "columns",
            NoiseShape::Elements => "elements",
            NoiseShape::Channels => "channels",
            NoiseShape::Samples => "samples",
            NoiseShape::Batch => "batch",
            NoiseShape::Shared(_) => "shared",
        }
    }

    fn min_rank(&self) -> usize {
        match self {
            NoiseShape::Columns | NoiseShape::Channels => 2,
            NoiseShape::Samples => 1,
            NoiseShape::Elements | NoiseShape::Batch | NoiseShape::Shared(_) => 0,
        }
    }
}

/// The named dimensions, counted from the front. Each must be in range, and none named twice.
fn normalize_dims(named: &[i64], size: &[i64]) -> Result<Vec<usize>> {
    let rank = size.len() as i64;
    let mut seen = Vec::with_capacity(named.len());
    for &dimension in named {
        if !(-rank..rank).contains(&dimension) {
            return Err(Error::DimensionOutOfRange { dimension, shape: size.to_vec() });
        }
        let from_front = dimension.rem_euclid(rank) as usize;
        if seen.contains(&from_front) {
            return Err(Error::DimensionNamedTwice { dimension, shape: size.to_vec() });
        }
        seen.push(from_front);
    }
    Ok(seen)
}

/// As a layer prints it: `columns`, or `shared over [1]`.
impl fmt::Display for NoiseShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            NoiseShape::Shared(dimensions) => write!(f, " over {dimensions:?}"),
            _ => Ok(()),
        }
    }
}

/// What `Display` writes, for a configuration file that names a noise shape.
///
/// ```
/// # use tch_dropout::NoiseShape;
/// assert_eq!("channels".parse::<NoiseShape>()?, NoiseShape::Channels);
/// assert_eq!("shared over [1, -1]".parse::<NoiseShape>()?, NoiseShape::Shared(vec![1, -1]));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
impl FromStr for NoiseShape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [
            NoiseShape::Columns,
            NoiseShape::Elements,
            NoiseShape::Channels,
            NoiseShape::Samples,
            NoiseShape::Batch,
        ];
        let named = all.into_iter().find(|shape| shape.name() == text);
        named.or_else(|| shared_over(text)).ok_or_else(|| Error::NoiseShapeName(text.into()))
    }
}

/// `shared over [1, -1]`
fn shared_over(text: &str) -> Option<NoiseShape> {
    let list = text.strip_prefix("shared over [")?.strip_suffix(']')?;
    let dimensions = match list.trim() {
        "" => Some(Vec::new()),
        list => list.split(',').map(|dimension| dimension.trim().parse().ok()).collect(),
    };
    dimensions.map(NoiseShape::Shared)
}
