//! The experiment and its two programs, one file per promise.

mod curves;
mod download;
mod files;
mod metrics;
mod models;
mod program;
mod uncertainty;
mod whole;
