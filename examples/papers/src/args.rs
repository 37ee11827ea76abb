//! The command line.

use anyhow::Result;
use clap::Parser;

use crate::options::Options;
use crate::{calibration, data_size, depth, drop_connect, errors, features, rate, regression};

/// What the papers on dropout report, run with tch-dropout
#[derive(Parser, Debug)]
#[command(name = "papers", max_term_width = 100, allow_negative_numbers = true)]
pub enum Args {
    /// How many errors does dropout prevent on MNIST? Srivastava et al. 2014, Table 2 and Figure 4
    Errors(errors::Args),

    /// How much data does dropout need? Srivastava et al. 2014, Figure 10
    DataSize(data_size::Args),

    /// Which p? Srivastava et al. 2014, Figure 9
    Rate(Options),

    /// What do hidden units learn? Srivastava et al. 2014, section 7
    Features(Options),

    /// DropConnect or Dropout? Wan et al. 2013, Table 1
    DropConnect(drop_connect::Args),

    /// Does a network know where it has seen no data? Gal and Ghahramani 2016, Figure 2
    Regression(Options),

    /// Is a classifier as sure as it should be? Gal and Ghahramani 2016; Guo et al. 2017
    Calibration(Options),

    /// What to drop in a residual network? Huang et al. 2016; Tompson et al. 2015
    Depth(Options),
}

impl Args {
    pub fn run(&self) -> Result<()> {
        match self {
            Args::Errors(args) => errors::run(args),
            Args::DataSize(args) => data_size::run(args),
            Args::Rate(options) => rate::run(options),
            Args::Features(options) => features::run(options),
            Args::DropConnect(args) => drop_connect::run(args),
            Args::Regression(options) => regression::run(options),
            Args::Calibration(options) => calibration::run(options),
            Args::Depth(options) => depth::run(options),
        }
    }
}
