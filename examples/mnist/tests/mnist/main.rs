//! The experiment and its two programs, one file per promise.

mod arguments;
mod checkpoints;
mod curves;
mod data;
mod difference;
mod download;
mod figures;
mod files;
mod metrics;
mod models;
mod program;
mod streams;
mod uncertainty;
