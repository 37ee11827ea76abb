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

    /// A sparse tensor, or one in oneDNN's own format.
    #[error("dropout is defined for strided tensors, not for sparse or oneDNN's ones")]
    Layout,

    /// A position given to a layer that follows libtorch's generator.
    #[error("the layer has no stream to set to step {0}: give it a seed first")]
    NoStream(u64),

    /// A position beyond a stream's end.
    #[error("a stream's step must be below 2^48, got {0}")]
    Step(u64),

    /// A number of passes or rows that is below 1.
    #[error("{name} must be at least 1, got {got}")]
    Count {
        /// What is counted.
        name: &'static str,
        /// The number as it was given.
        got: i64,
    },

    /// More passes folded into one batch than there are.
    #[error("fold must be at most {passes}, the number of passes, got {fold}")]
    Fold {
        /// The passes to be folded.
        fold: i64,
        /// The passes that there are.
        passes: i64,
    },

    /// An input of Monte Carlo dropout that has no rows, or no entries in them.
    #[error("Monte Carlo dropout needs at least one row that is not empty, got shape {0:?}")]
    NoRows(Vec<i64>),

    /// An output of a model that is not a row of logits for each row of its input.
    #[error(
        "the model must return floating-point logits of shape [{rows}, K] with K >= 2, \
         got {kind:?} of shape {shape:?}"
    )]
    Logits {
        /// The rows of the model's input.
        rows: i64,
        /// The output's kind.
        kind: Kind,
        /// The output's shape.
        shape: Vec<i64>,
    },

    /// A model in whose Monte Carlo passes no layer of this crate drew a mask.
    #[error(
        "no dropout layer drew a mask, so the passes can only be the same: the model has none with \
         p > 0, or has libtorch's, which `.train(true)` switches on"
    )]
    NothingDrawn,

    /// A layer's input that does not have the rows of all folded passes in dimension 0.
    #[error(
        "folded passes need a multiple of {rows} rows in dimension 0 of a layer's input, \
         got shape {shape:?}"
    )]
    FoldedBatch {
        /// The rows of all folded passes together.
        rows: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A mask of a weight within folded passes, which need one each.
    #[error(
        "a weight of shape {0:?} has one mask for all folded passes: use drop_connect, or fold 1"
    )]
    FoldedWeight(Vec<i64>),

    /// Monte Carlo dropout in a model that is itself run in folded passes.
    #[error("Monte Carlo dropout within folded passes is not possible: give the outer one fold 1")]
    NestedFold,

    /// An error of libtorch's own.
    #[error(transparent)]
    Torch(#[from] TchError),
}

/// A `Result` with this crate's [`Error`](enum@Error).
pub(crate) type Result<T> = std::result::Result<T, Error>;
