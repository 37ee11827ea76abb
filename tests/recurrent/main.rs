//! `Lstm` and `Gru`: without dropout they are tch's, and each dropout is what its paper says.

#[path = "../common/mod.rs"]
mod common;

mod between;
mod directions;
mod errors;
mod layers;
mod lengths;
mod monte_carlo;
mod state;
mod steps;
mod streams;
mod tchs;
mod weights;
mod zoneout;
