//! The random numbers behind the masks of a seed, raw, on standard output, for a battery of tests:
//!
//! `cargo run --release --example stream -- --seed 1 | dieharder -a -g 200`

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

// The library's own generator, which it does not export.
#[path = "../src/random/philox.rs"]
mod philox;

/// Writes the random numbers of a layer's masks, one mask after the other, until nobody reads them
#[derive(Parser)]
#[command(allow_negative_numbers = true)]
struct Args {
    /// The layer's seed
    #[arg(long, default_value_t = 1, value_parser = whole(0, u64::MAX))]
    seed: u64,

    /// The worker that the stream belongs to
    #[arg(long, default_value_t = 0, value_parser = whole(0, u16::MAX.into()))]
    worker: u64,

    /// Elements of a mask; each takes two bytes
    #[arg(long, default_value_t = 1 << 19, value_parser = whole(1, u64::MAX))]
    elements: u64,
}

/// A parser of whole numbers in a range.
fn whole(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number
            .ok_or_else(|| format!("expected a whole number from {least} to {most}, got '{text}'"))
    }
}

/// A block decides eight elements.
const TILE: u64 = 8 * philox::SIDE_BY_SIDE as u64;

/// Bytes written at once, however large the mask.
const BUFFER: usize = 1 << 16;

fn main() -> ExitCode {
    let args = Args::parse();
    match write_masks(&args) {
        // Whoever reads has enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn write_masks(args: &Args) -> io::Result<()> {
    if io::stdout().is_terminal() {
        let advice = "this is no text for a terminal; send it into a pipe or a file";
        return Err(io::Error::other(advice));
    }
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let high = args.worker << 48;
    (0..1 << 48).try_for_each(|step| write_mask(args, high | step, &mut out))?;
    out.flush()
}

/// The numbers of one mask, in the order of its elements.
fn write_mask(args: &Args, high: u64, out: &mut impl Write) -> io::Result<()> {
    (0..args.elements.div_ceil(TILE)).try_for_each(|tile| {
        let blocks = philox::blocks(args.seed, high, tile * philox::SIDE_BY_SIDE as u64);
        let bytes: Vec<u8> = blocks.into_iter().flatten().flat_map(u64::to_le_bytes).collect();
        let elements = TILE.min(args.elements - tile * TILE);
        out.write_all(&bytes[..2 * elements as usize])
    })
}
