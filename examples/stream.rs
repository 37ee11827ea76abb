//! Writes the raw random numbers behind seeded masks to standard output, for a test battery:
//!
//!     cargo run --release --example stream -- --seed 1 | dieharder -a -g 200

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tch_dropout::Stream;

/// Writes the random numbers of a layer's masks, one mask after another, until the reader stops
#[derive(Parser)]
#[command(allow_negative_numbers = true)]
struct Args {
    /// The layer's seed
    #[arg(long, default_value_t = 1, value_parser = whole(0, u64::MAX))]
    seed: u64,

    /// The worker that the stream belongs to
    #[arg(long, default_value_t = 0, value_parser = whole(0, u16::MAX.into()))]
    worker: u64,

    /// The layer of the model that the stream belongs to
    #[arg(long, default_value_t = 0, value_parser = whole(0, u16::MAX.into()))]
    layer: u64,

    /// Words of 32 bits per mask; each has a bit for 32 elements
    #[arg(long, default_value_t = 1 << 18, value_parser = whole(1, u64::MAX))]
    words: u64,
}

/// A parser of whole numbers in a range.
fn whole(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number
            .ok_or_else(|| format!("expected a whole number from {least} to {most}, got '{text}'"))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if io::stdout().is_terminal() {
        let _ =
            writeln!(io::stderr(), "error: the output is binary: send it into a pipe or a file");
        return ExitCode::FAILURE;
    }
    match write_masks(&args) {
        // The reader has had enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn write_masks(args: &Args) -> io::Result<()> {
    let stream =
        Stream::new(args.seed).with_worker(args.worker as u16).with_layer(args.layer as u16);
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    loop {
        for word in stream.words().take(args.words as usize) {
            out.write_all(&word.to_le_bytes())?;
        }
    }
}
