//! Trains an MNIST model on several ranks:
//!
//!     mpirun -n 4 ../../target/release/data_parallel --help

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use data_parallel::args::Args;
use data_parallel::ranks::Ranks;
use data_parallel::{report, train};
use mnist_experiment::console;

fn main() -> ExitCode {
    let ranks = Ranks::join();
    let args = match Args::try_parse() {
        Ok(args) => args,
        // All ranks have the same command line: one of them says what is wrong with it.
        Err(error) => {
            if ranks.is_first() {
                let _ = error.print();
            }
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match run(&ranks, &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::note(format_args!("error on rank {}: {error:#}", ranks.rank()));
            ranks.abort()
        }
    }
}

fn run(ranks: &Ranks, args: &Args) -> Result<()> {
    match train::train(ranks, args)? {
        Some(run) => console::print(report::table(&run)),
        None => Ok(()),
    }
}
