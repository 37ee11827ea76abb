//! Monte Carlo dropout: many passes of a model with dropout on, and how much they disagree.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `options` | how a model is run |
//! | `function` | a call without options |
//! | `outputs` | a call for each kind of output |
//! | `passes` | the passes over each batch, by themselves or folded |
//! | `checks` | what a model may return |
//! | `prediction` | what the passes add up to |
//! | `scope` | how layers learn of them |

mod checks;
mod function;
mod options;
mod outputs;
mod passes;
mod prediction;
pub(crate) mod scope;

pub use self::function::{f_monte_carlo, monte_carlo};
pub use self::options::MonteCarlo;
pub use self::prediction::{Prediction, Regression};
