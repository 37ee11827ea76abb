//! A picture of the masks: what each noise shape, and DropConnect, drops together.
//!
//!     cargo run --release --example masks -- --out masks.svg

mod drawing;
mod panel;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Draws a mask of each noise shape, and DropConnect's, as an SVG
#[derive(Parser)]
struct Args {
    /// Where to write the picture
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The seed of the masks
    #[arg(long, default_value_t = 2)]
    seed: u64,
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
    let svg = drawing::draw(&panel::panels(args.seed)?)?;
    fs::write(&args.out, svg).with_context(|| format!("cannot write {}", args.out.display()))?;
    match writeln!(io::stdout(), "wrote {}", args.out.display()) {
        // Whoever reads may have had enough; the picture is there.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
