//! Data-parallel training over MPI: each rank has a replica of the model, takes its share of every batch, and
//! draws dropout masks of its own; the average of the gradients is the same on all ranks, and so are the
//! replicas.

pub mod adam;
pub mod args;
pub mod batches;
pub mod checkpoint;
pub mod flat;
pub mod gradient;
pub mod model;
pub mod ranks;
pub mod replica;
pub mod report;
pub mod train;
pub mod watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
