//! What a child process is told to do, by name.

use std::io::{self, Write};

use anyhow::{Result, bail};
use tch::Device;

use crate::{attention, chain, checkpoint, child, debug, transformer};

/// Does the work of a process that `child` starts.
pub fn run(work: &str, size: i64, device: Device) -> Result<()> {
    let figures = match work.split_once(' ') {
        None if work == child::SPIN => child::spin(),
        None if work == debug::WORK => debug::measure(size)?.to_vec(),
        Some(("chain", chain)) => chain::measure(chain, size, device)?.to_vec(),
        Some(("checkpoint", variant)) => checkpoint::measure(variant, size)?.to_vec(),
        Some(("attention", variant)) => attention::measure(variant)?.to_vec(),
        Some(("transformer", dropout)) => transformer::measure(dropout, device)?.to_vec(),
        _ => bail!("unknown work '{work}'"),
    };
    let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
    writeln!(io::stdout(), "{}", figures.join(" "))?;
    Ok(())
}
