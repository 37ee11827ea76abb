//! What can go wrong in Monte Carlo dropout.

use tch::Kind;

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
