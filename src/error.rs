use tch::{Kind, TchError};

/// Everything that can go wrong in this crate.
///
/// ```
/// # use tch_dropout::{Error, TrueDropout};
/// let error = TrueDropout::new(1.5).unwrap_err();
/// assert!(matches!(error, Error::Probability(p) if p == 1.5));
/// assert_eq!(error.to_string(), "p must be a probability in [0, 1], got 1.5");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A probability outside `[0, 1]`, or not a number.
    #[error("p must be a probability in [0, 1], got {0}")]
    Probability(f64),

    /// The noise shape needs more dimensions than the input has.
    #[error("{noise} noise needs an input of at least {needed} dimensions, got shape {shape:?}")]
    TooFewDimensions {
        /// The noise shape's name.
        noise: &'static str,
        /// The fewest dimensions that it works with.
        needed: usize,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A shared dimension that the input does not have.
    #[error(
        "dimension {dimension} of the noise shape is out of range for an input of shape {shape:?}"
    )]
    DimensionOutOfRange {
        /// The dimension as it was named.
        dimension: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A dimension that is shared twice, perhaps once counted from each end.
    #[error(
        "dimension {dimension} of the noise shape is named twice for an input of shape {shape:?}"
    )]
    DimensionNamedTwice {
        /// The dimension as it was named the second time.
        dimension: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A mask that would not leave the input's shape as it is.
    #[error("a mask of shape {mask:?} does not broadcast over an input of shape {input:?}")]
    MaskShape {
        /// The mask's shape.
        mask: Vec<i64>,
        /// The input's shape.
        input: Vec<i64>,
    },

    /// A kind of tensor that cannot be multiplied with a mask.
    #[error("dropout is not defined for tensors of kind {0:?}")]
    Kind(Kind),

    /// A position asked of, or given to, a layer that follows libtorch's generator.
    #[error("the layer has no stream to set to step {0}: give it a seed first")]
    NoStream(u64),

    /// A position beyond a stream's end.
    #[error("a stream's step must be below 2^48, got {0}")]
    Step(u64),

    /// An error of libtorch's own.
    #[error(transparent)]
    Torch(#[from] TchError),
}

/// A `Result` with this crate's [`Error`](enum@Error).
pub(crate) type Result<T> = std::result::Result<T, Error>;
