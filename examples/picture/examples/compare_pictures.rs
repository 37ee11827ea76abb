//! Checks whether a picture is unchanged, and how much it differs:
//!
//!     cargo run --release --example compare_pictures -- committed.svg drawn.svg

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use picture::compare::{Difference, compare};

/// Compares two SVG files, and fails if they differ by more than allowed
#[derive(Parser)]
struct Args {
    committed: PathBuf,

    drawn: PathBuf,

    /// Let numbers differ by this on average; words, elements and the number of points never
    #[arg(long, value_name = "DIFFERENCE", default_value_t = 0.0)]
    within: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(exit) => exit,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let difference = compare(&read(&args.committed)?, &read(&args.drawn)?);
    let (same, words) = match difference {
        Difference::Nothing => (true, "the same".to_owned()),
        Difference::Numbers { differing, of, mean, most } => (
            mean <= args.within,
            format!(
                "{differing} of {of} numbers differ, by {mean:.2} on average and {most:.1} at most"
            ),
        ),
        Difference::Words { line, left, right } => {
            (false, format!("line {line} is\n    {left}\nand was drawn as\n    {right}"))
        }
    };
    match writeln!(io::stdout(), "{}: {words}", args.committed.display()) {
        // Whoever reads may have had enough; the exit status is the answer all the same.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
