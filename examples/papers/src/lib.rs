//! Experiments of the papers that this crate implements, one file for each: what the paper did, what is done
//! here, and the picture. `examples/papers.rs` is the program.

pub mod args;
mod calibration;
mod chart;
mod compare;
mod data_size;
mod depth;
mod dots;
mod drop_connect;
mod errors;
mod features;
mod network;
mod numbers;
mod options;
mod progress;
mod rate;
mod regression;
mod training;

/// Tests that set libtorch's seed, of which there is one, take turns.
#[cfg(test)]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
