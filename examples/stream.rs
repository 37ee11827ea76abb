//! The random numbers behind the masks of a seed, raw, on standard output, for a battery of tests:
//!
//! `cargo run --release --example stream -- --seed 1 | dieharder -a -g 200`

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

// The library's own generator, which it does not export.
#[path = "../src/random/philox.rs"]
mod philox;

/// Writes the random numbers of a layer's masks, one mask after the other, until nobody reads them
#[derive(Parser)]
struct Args {
    /// The layer's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The worker that the stream belongs to
    #[arg(long, default_value_t = 0)]
    worker: u16,

    /// Elements of a mask; each takes two bytes
    #[arg(long, default_value_t = 1 << 19, value_parser = clap::value_parser!(u64).range(1..))]
    elements: u64,
}

/// A block decides eight elements.
const TILE: u64 = 8 * philox::SIDE_BY_SIDE as u64;

fn main() -> ExitCode {
    let args = Args::parse();
    if io::stdout().is_terminal() {
        eprintln!("error: this is no text for a terminal: send it into a pipe or a file");
        return ExitCode::FAILURE;
    }
    match write_masks(&args) {
        // Whoever reads has enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn write_masks(args: &Args) -> io::Result<()> {
    let high = u64::from(args.worker) << 48;
    (0..1 << 48).try_for_each(|step| write_mask(args, high | step))
}

/// The numbers of one mask, in the order of its elements.
fn write_mask(args: &Args, high: u64) -> io::Result<()> {
    let tiles = args.elements.div_ceil(TILE);
    let mut bytes: Vec<u8> = (0..tiles)
        .flat_map(|tile| philox::blocks(args.seed, high, tile * philox::SIDE_BY_SIDE as u64))
        .flatten()
        .flat_map(u64::to_le_bytes)
        .collect();
    bytes.truncate(2 * args.elements as usize);
    io::stdout().lock().write_all(&bytes)
}
