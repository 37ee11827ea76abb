//! What a model is here: numbers of characters `[N, T]` go in, logits `[N, T, symbols]` of the next ones come
//! out.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use tch::nn::{self, ModuleT};

use crate::{lstm, transformer};

#[derive(Clone, Copy, ValueEnum)]
pub enum Architecture {
    Transformer,
    Lstm,
}

impl Architecture {
    /// The model, with all its probabilities of dropping multiplied by `scale`.
    pub fn build(self, vs: &nn::Path, symbols: i64, scale: f64) -> Result<Box<dyn ModuleT>> {
        Ok(match self {
            Architecture::Transformer => Box::new(transformer::model(vs, symbols, scale)?),
            Architecture::Lstm => Box::new(lstm::model(vs, symbols, scale)?),
        })
    }

    pub fn learning_rate(self) -> f64 {
        match self {
            Architecture::Transformer => 1e-3,
            Architecture::Lstm => 3e-3,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::Transformer => "Transformer",
            Architecture::Lstm => "LSTM",
        })
    }
}
