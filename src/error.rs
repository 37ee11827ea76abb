//! Everything that can go wrong, each with the value that was wrong and what was expected.

use std::fmt;

use tch::{Kind, TchError};

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

/// Not `#[from]`, which would make it a cause as well, whose text repeats this one's with the stack trace.
impl From<TchError> for Error {
    fn from(error: TchError) -> Error {
        Error::Torch(error)
    }
}

/// For `?` in a function that returns tch's error, as those around `Tensor::f_dropout` do. An error of this crate
/// becomes a [`TchError::Torch`] with its text, which tch prints after "Internal torch error: ".
///
/// ```
/// # use tch::{TchError, Tensor};
/// # use tch_dropout::f_dropout;
/// fn forward(x: &Tensor, train: bool) -> Result<Tensor, TchError> {
///     let x = x.f_relu()?;
///     Ok(f_dropout(&x, 0.1, train)?) // was: x.f_dropout(0.1, train)
/// }
/// # assert!(forward(&Tensor::from_slice(&[-1.0]), false).is_ok());
/// ```
///
/// [`TchError::Torch`]: https://docs.rs/tch/latest/tch/enum.TchError.html#variant.Torch
impl From<Error> for TchError {
    fn from(error: Error) -> TchError {
        match error {
            Error::Torch(error) => error,
            other => TchError::Torch(other.to_string()),
        }
    }
}

/// The errors of [`monte_carlo`](crate::monte_carlo), of [`MonteCarlo`](crate::MonteCarlo), and of the layers
/// in a model that they run.
///
/// ```
/// # use tch_dropout::{Error, MonteCarlo, MonteCarloError};
/// let error = MonteCarlo::new(0).unwrap_err();
/// assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Count { name: "passes", got: 0 })));
/// assert_eq!(error.to_string(), "passes must be at least 1, got 0");
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MonteCarloError {
    /// A number of passes or rows below 1.
    #[error("{name} must be at least 1, got {got}")]
    Count {
        /// What is counted.
        name: &'static str,
        /// The number as given.
        got: i64,
    },

    /// More passes folded into one batch than there are.
    #[error("fold must be at most {passes}, the number of passes, got {fold}")]
    Fold {
        /// How many passes were to be folded.
        fold: i64,
        /// How many passes there are.
        passes: i64,
    },

    /// An input without rows, or with empty ones.
    #[error("Monte Carlo dropout needs at least one row that is not empty, got shape {0:?}")]
    NoRows(Vec<i64>),

    /// An output that has no logits for each row of the input.
    #[error(
        "the model must return floating-point logits of shape [{rows}, K, ...] with K >= 2, \
         got {kind:?} of shape {shape:?} (for a regression, call regress)"
    )]
    Logits {
        /// The rows of the model's input.
        rows: i64,
        /// The output's kind.
        kind: Kind,
        /// The output's shape.
        shape: Vec<i64>,
    },

    /// An output that has no classes in the dimension that was named.
    #[error(
        "the model must return floating-point numbers of shape [{rows}, ...] with at least 2 classes in dimension {dim}, \
         got {kind:?} of shape {shape:?}"
    )]
    Classes {
        /// The dimension of the classes.
        dim: i64,
        /// The rows of the model's input.
        rows: i64,
        /// The output's kind.
        kind: Kind,
        /// The output's shape.
        shape: Vec<i64>,
    },

    /// An output of numbers that are no probabilities.
    #[error(
        "probabilities must be from 0 to 1, and sum to 1 over dimension {dim}: the model returned numbers from {least} to \
         {largest}, whose sums are up to {off} off (for logits, call predict)"
    )]
    Probabilities {
        /// The dimension of the classes.
        dim: i64,
        /// The smallest of them.
        least: f64,
        /// The largest.
        largest: f64,
        /// How far a sum is from 1.
        off: f64,
    },

    /// An output that has no value for each row of the input.
    #[error(
        "the model must return floating-point values of shape [{rows}, ...], \
         got {kind:?} of shape {shape:?}"
    )]
    Values {
        /// The rows of the model's input.
        rows: i64,
        /// The output's kind.
        kind: Kind,
        /// The output's shape.
        shape: Vec<i64>,
    },

    /// A pass in which no layer of this crate drew a mask.
    #[error(
        "no dropout layer drew a mask, so all passes would be the same: the model has no layer with \
         p > 0, its layers ran on another thread, or it uses libtorch's dropout, which \
         `.train(true)` turns on"
    )]
    NothingDrawn,

    /// A layer whose input does not hold the rows of all folded passes in dimension 0.
    #[error(
        "with {passes} folded passes, a layer got an input of shape {folded:?}, but {passes} copies of \
         {single:?} were expected in dimension 0: use fold 1, or drop_connect to drop weights"
    )]
    NotFolded {
        /// The input's shape in a pass by itself.
        single: Vec<i64>,
        /// Its shape in the folded passes.
        folded: Vec<i64>,
        /// How many passes were folded.
        passes: i64,
    },

    /// A layer whose input mixes the rows of folded passes, as after the batch was moved behind another dimension and
    /// flattened.
    #[error(
        "an input of a layer, of shape {0:?} for two folded passes, does not have them one after the other in \
         dimension 0: keep the batch first, or use fold 1"
    )]
    Mixed(
        /// The input's shape for two passes.
        Vec<i64>,
    ),

    /// A model whose output for a row depends on the row's place in the batch, or on other rows.
    #[error(
        "the output, of shape {0:?} for two copies of the batch, is not the same for both: each row must be \
         computed from that row alone, in a way that does not depend on its place, or use fold 1"
    )]
    MixedOutput(
        /// The output's shape for two copies.
        Vec<i64>,
    ),

    /// A model that draws more or fewer masks in folded passes than in one.
    #[error("the model drew {single} masks in one pass and {folded} in folded passes: use fold 1")]
    Draws {
        /// How many masks a pass by itself drew.
        single: usize,
        /// How many masks the folded passes drew, or at least that many.
        folded: usize,
    },

    /// Monte Carlo dropout in a model that is itself run in folded passes.
    #[error("Monte Carlo dropout cannot run inside folded passes: give the outer one fold 1")]
    Nested,

    /// A trace that is recorded within folded passes.
    #[error("a model cannot be traced inside folded passes: trace it by itself, or use fold 1")]
    Traced,
}

/// The errors of [`checkpoint`](crate::checkpoint()). [`Changed`](Self::Changed) and
/// [`SecondDerivative`](Self::SecondDerivative) occur in the backward pass, where `f_backward` returns them as the text
/// of a [`TchError`].
///
/// ```
/// # #[cfg(feature = "recompute")] {
/// use tch::Tensor;
/// use tch_dropout::{CheckpointError, Error, f_checkpoint};
///
/// let w = Tensor::from(2.0).set_requires_grad(true);
/// let square = &w * &w;
/// let x = Tensor::from(1.0);
/// let error = f_checkpoint(move |x| Ok(x * &square), &x).unwrap_err();
/// assert!(matches!(error, Error::Checkpoint(CheckpointError::Captured(_))));
/// # }
/// ```
///
/// [`TchError`]: https://docs.rs/tch/latest/tch/enum.TchError.html
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A tensor with a history, which the segment uses and is not given.
    #[error(
        "the segment uses a tensor that was computed outside of it (by {0}): make it an input, or detach it"
    )]
    Captured(String),

    /// A segment that did something else when it was run again.
    #[error("a segment must do the same each time, but when it was run again, {0}")]
    Changed(&'static str),

    /// A segment that writes to its input, and so would get another one in the backward pass.
    #[error("a segment must not modify its input in place, since it is run again with that input")]
    ModifiesInput,

    /// A forward or backward pass on a thread that holds the module's lock, for which it would wait forever.
    #[error(
        "this thread holds the lock of the checkpoint's module, for which it would wait forever: drop what \
         `lock()` returned first"
    )]
    Locked,

    /// A backward pass with `create_graph`.
    #[error(
        "a checkpoint has no second derivative: run the backward pass without create_graph, or the \
         segment without a checkpoint"
    )]
    SecondDerivative,
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
