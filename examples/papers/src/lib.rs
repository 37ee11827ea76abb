//! Experiments of the papers that this crate implements, one file for each: what the paper did, what is done
//! here, and the picture. `examples/papers.rs` is the program.

pub mod args;
mod data_size;
mod network;
mod options;
mod progress;
mod training;
