//! The command line.

use anyhow::Result;
use clap::Parser;

use crate::data_size;
use crate::options::Options;

/// What the papers on dropout report, run with tch-dropout
#[derive(Parser, Debug)]
#[command(name = "papers", max_term_width = 100, allow_negative_numbers = true)]
pub enum Args {
    /// How much data does dropout need? Srivastava et al. 2014, Figure 10
    DataSize(Options),
}

impl Args {
    pub fn run(&self) -> Result<()> {
        match self {
            Args::DataSize(options) => data_size::run(options),
        }
    }
}
