//! The tests of `expectations_pytorch_attention.rs`, in blocks of a few weights.

#[path = "expectations_pytorch_attention.rs"]
mod expectations;
