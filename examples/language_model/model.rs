//! What a model is here: numbers of characters `[N, T]` go in, logits `[N, T, symbols]` of the next ones come
//! out.

use anyhow::Result;
use clap::ValueEnum;
use tch::nn::{self, ModuleT};

use crate::transformer::transformer;

#[derive(Clone, Copy, ValueEnum)]
pub enum Architecture {
    Transformer,
}

/// How much is dropped.
#[derive(Clone, Copy)]
pub struct Rates {
    /// Of attention weights, and of features.
    pub dropout: f64,
    /// How often a sample skips the last branch.
    pub depth: f64,
}

impl Rates {
    pub const NONE: Rates = Rates { dropout: 0.0, depth: 0.0 };
}

pub fn build(
    architecture: Architecture,
    vs: &nn::Path,
    symbols: i64,
    rates: Rates,
) -> Result<Box<dyn ModuleT>> {
    match architecture {
        Architecture::Transformer => Ok(Box::new(transformer(vs, symbols, rates)?)),
    }
}
