//! Everything that can go wrong, each with the value that was wrong and what was expected.

use std::fmt;

mod checkpoint;
mod conversions;
mod monte_carlo;

use tch::{Kind, TchError};

pub use self::checkpoint::CheckpointError;
pub use self::monte_carlo::MonteCarloError;

/// The errors of this crate.
///
/// ```
/// # use tch_dropout::{Error, TrueDropout};
/// let error = TrueDropout::elements(1.5).unwrap_err();
/// assert!(matches!(error, Error::Probability(p) if p == 1.5));
/// assert_eq!(error.to_string(), "p must be a probability in [0, 1], got 1.5");
/// ```
///
/// `Debug` prints the same text, as it is what `unwrap` shows.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A probability outside `[0, 1]`, or NaN.
    #[error("p must be a probability in [0, 1], got {0:?}")]
    Probability(f64),

    /// Gaussian dropout with `p = 1`.
    #[error("p must be below 1 for Gaussian dropout (its variance is p / (1 - p)), got 1.0")]
    InfiniteVariance,

    /// A `p` that cannot be learned, as its logit is infinite.
    #[error("a learned p must be above 0 and below 1, got {0:?}")]
    LearnedProbability(f64),

    /// A temperature of concrete dropout that is not positive and finite.
    #[error("the temperature must be positive and finite, got {0:?}")]
    Temperature(f64),

    /// A weight without inputs.
    #[error("a weight must have a shape [out, in, ...], got {0:?}")]
    WeightShape(Vec<i64>),

    /// The noise shape needs more dimensions than the input has.
    #[error(
        "noise shape `{noise}` needs an input with at least {needed} dimension{}, got shape {shape:?}",
        plural(*needed)
    )]
    TooFewDimensions {
        /// The noise shape's name.
        noise: &'static str,
        /// How many dimensions it needs.
        needed: usize,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// The crate was built without the C++ that reaches libtorch's generators.
    #[error("the state of libtorch's generator needs the feature `recompute`")]
    NoGeneratorState,

    /// A text that names no noise shape.
    #[error(
        "a noise shape is `elements`, `channels`, `samples`, `columns`, `batch` or `shared over [1, 2]`, got `{0}`"
    )]
    NoiseShapeName(String),

    /// A shared dimension that the input does not have.
    #[error(
        "dimension {dimension} of the noise shape is out of range for an input of shape {shape:?}"
    )]
    DimensionOutOfRange {
        /// The dimension as given.
        dimension: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A dimension shared twice, perhaps once counted from each end.
    #[error(
        "dimension {dimension} of the noise shape is named twice for an input of shape {shape:?}"
    )]
    DimensionNamedTwice {
        /// The dimension as given the second time.
        dimension: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A mask that would change the input's shape.
    #[error("a mask of shape {mask:?} does not broadcast over an input of shape {input:?}")]
    MaskShape {
        /// The mask's shape.
        mask: Vec<i64>,
        /// The input's shape.
        input: Vec<i64>,
    },

    /// A residual that cannot be added to the layer's output.
    #[error("a residual of shape {residual:?} does not broadcast with an input of shape {input:?}")]
    ResidualShape {
        /// The residual's shape.
        residual: Vec<i64>,
        /// The input's shape.
        input: Vec<i64>,
    },

    /// Queries, keys and values whose shapes do not fit together.
    #[error("attention needs {expected}, got query {query:?}, key {key:?} and value {value:?}")]
    AttentionShapes {
        /// What does not hold.
        expected: &'static str,
        /// The query's shape.
        query: Vec<i64>,
        /// The key's shape.
        key: Vec<i64>,
        /// The value's shape.
        value: Vec<i64>,
    },

    /// An attention mask of another shape than the weights.
    #[error(
        "a mask of shape {mask:?} does not broadcast over attention weights of shape {weights:?}"
    )]
    AttentionMask {
        /// The mask's shape.
        mask: Vec<i64>,
        /// The weights' shape.
        weights: Vec<i64>,
    },

    /// An attention mask of a kind that cannot be added to the scores.
    #[error("an attention mask must be of kind Bool, Float or the query's {query:?}, got {mask:?}")]
    AttentionMaskKind {
        /// The mask's kind.
        mask: Kind,
        /// The query's kind.
        query: Kind,
    },

    /// Features that cannot be split into heads.
    #[error(
        "embed_dim must be a positive multiple of num_heads, and num_heads of kv_heads, \
         got embed_dim {embed_dim}, num_heads {num_heads} and kv_heads {kv_heads}"
    )]
    Heads {
        /// The number of features.
        embed_dim: i64,
        /// The number of queries' heads.
        num_heads: i64,
        /// The number of keys' and values' heads.
        kv_heads: i64,
    },

    /// A number of the keys' or values' features that is not positive.
    #[error("kdim and vdim must be positive, got kdim {kdim} and vdim {vdim}")]
    Features {
        /// The keys' number of features.
        kdim: i64,
        /// The values' number of features.
        vdim: i64,
    },

    /// An input of multi-head attention that is not a batch of sequences of its features.
    #[error("multi-head attention needs inputs of shape [N, T, {features}], got {shape:?}")]
    Sequences {
        /// The number of features.
        features: i64,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A kind of tensor that cannot be multiplied by a mask.
    #[error("dropout is not defined for tensors of kind {0:?}")]
    Kind(Kind),

    /// A sparse tensor (COO, CSR, CSC, BSR or BSC), a nested one, or one in oneDNN's format.
    #[error("dropout is defined for strided tensors only, got a sparse, nested or oneDNN tensor")]
    Layout,

    /// An input of a shape that the layer does not take.
    #[error("{layer} needs an input of shape {expected}, got {shape:?}")]
    InputShape {
        /// The layer's name.
        layer: &'static str,
        /// The shapes that it takes.
        expected: String,
        /// The input's shape.
        shape: Vec<i64>,
    },

    /// A size or a number below the smallest one that makes sense.
    #[error("{name} must be at least {least}, got {got}")]
    TooSmall {
        /// What was given.
        name: &'static str,
        /// The smallest valid value.
        least: i64,
        /// The value as given.
        got: i64,
    },

    /// A residual branch whose output has another shape than its input.
    #[error("the branch must return a tensor of its input's shape {input:?}, got {output:?}")]
    BranchShape {
        /// The shape that the branch was given.
        input: Vec<i64>,
        /// The shape that it returned.
        output: Vec<i64>,
    },

    /// An option of a recurrent layer, or the shape of a tensor, that does not fit.
    #[error("{name} must be {expected}, got {got}")]
    Recurrent {
        /// What does not fit.
        name: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },

    /// A step past a stream's end.
    #[error("a stream's step must be below 2^48, got {0}")]
    Step(u64),

    /// Saved steps that belong to a different number of streams.
    #[error(
        "the checkpoint has {got} step{}, but this model has taken {expected} stream{}: is it the same \
         model, and has each layer taken its stream before the steps are set?",
        plural(*got),
        plural(*expected)
    )]
    Steps {
        /// How many streams there are.
        expected: usize,
        /// How many steps were given.
        got: usize,
    },

    /// A layer number that has been handed out before.
    #[error("layer {0} has taken its stream already, and another layer's masks would be the same")]
    LayerTaken(u16),

    /// More streams than one seed has layer numbers.
    #[error("this seed's 65536 layer streams have all been handed out")]
    Layers,

    /// A layer with a stream in a model that is being traced in training.
    #[error(
        "a layer with a seed cannot be traced in training, since a trace cannot advance the stream's \
         step: trace it without a seed, or in evaluation"
    )]
    Traced,

    /// NVIDIA's driver refused to run a kernel, in its own words. Not for a driver that is missing or too old: then the CPU
    /// draws the masks.
    #[error("the CUDA driver cannot run dropout's kernel: {0}")]
    Driver(String),

    /// An error of Monte Carlo dropout.
    #[error(transparent)]
    MonteCarlo(#[from] MonteCarloError),

    /// An error of a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// An error of libtorch. Its text ends where libtorch's stack trace begins, which `{:?}` prints, too.
    #[error("{}", without_trace(.0))]
    Torch(TchError),
}

fn without_trace(error: &TchError) -> String {
    let text = error.to_string();
    let end = text.find("\nException raised from ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// `unwrap` and `expect` show an error's `Debug`.
macro_rules! debug_as_display {
    ($($error:ty),*) => {
        $(impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })*
    };
}
debug_as_display!(MonteCarloError, CheckpointError);

/// The same, but for libtorch's stack trace.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Torch(error) => fmt::Display::fmt(error, f),
            other => fmt::Display::fmt(other, f),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A `Result` with this crate's [`Error`](enum@Error).
///
/// With two types it is [`std`'s](std::result::Result), so that it can take its place, as `use tch_dropout::*` has it.
///
/// ```
/// use tch_dropout::*;
///
/// fn layers() -> Result<Vec<TrueDropout>> {
///     (0..3).map(|_| TrueDropout::elements(0.5)).collect()
/// }
///
/// fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
///     text.parse()
/// }
/// # assert_eq!((layers()?.len(), number("7")), (3, Ok(7)));
/// # Ok::<(), Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Panics with an error's text, at the line of the caller (which a closure would lose), after the layer as it prints
/// itself: the caller may be tch's, which calls any layer of a model.
#[track_caller]
pub(crate) fn or_panic_in<T>(layer: &(impl fmt::Display + ?Sized), result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{layer}: {error}"),
    }
}

/// Panics with an error's text, for a function.
#[track_caller]
pub(crate) fn or_panic<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
