//! Activation checkpointing: segments of a model that are run again in the backward pass, in place of keeping
//! what they computed.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `function` | a segment that is a function |
//! | `outputs` | one that returns several tensors |
//! | `module` | a segment that is a module |
//! | `segment` | how it is run, and run again |
//! | `replay` | the masks that its layers drew |

mod function;
mod module;
mod outputs;
pub(crate) mod replay;
#[cfg(recompute)]
mod segment;

pub use self::function::{checkpoint, checkpoint_many, f_checkpoint, f_checkpoint_many};
pub use self::module::{Checkpoint, CheckpointGuard};
pub use self::outputs::{checkpoint_outputs, f_checkpoint_outputs};
