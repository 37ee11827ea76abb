//! Experiments of the papers that this crate implements, one file for each: what the paper did, what is done
//! here, and the picture. `examples/papers.rs` is the program.

pub mod args;
mod calibration;
mod chart;
mod data_size;
mod dots;
mod errors;
mod network;
mod options;
mod progress;
mod rate;
mod regression;
mod training;
