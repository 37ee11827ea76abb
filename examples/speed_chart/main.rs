//! Draws the speed of dropout, as the bench measured it:
//!
//!     cargo bench --bench speed -- --json bench.json
//!     cargo run --release --example speed_chart -- bench.json --out speed.svg

mod drawing;
mod figures;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use figures::Figures;

/// Draws the time of elementwise dropout, libtorch's and this crate's, as an SVG
#[derive(Parser)]
struct Args {
    /// The JSON file that the bench wrote
    #[arg(value_name = "JSON")]
    figures: PathBuf,

    /// Where to write the picture
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let figures = Figures::read(&args.figures)?;
    let svg = drawing::draw(&figures)?;
    fs::write(&args.out, svg).with_context(|| format!("cannot write {}", args.out.display()))?;
    match writeln!(io::stdout(), "wrote {}", args.out.display()) {
        // Whoever reads may have had enough; the picture is there.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
