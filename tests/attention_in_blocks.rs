//! The tests of `attention.rs`, in blocks of a few weights.

#[path = "attention.rs"]
mod attention;

/// Where the file of src/ that it includes looks for it.
use attention::trace;
