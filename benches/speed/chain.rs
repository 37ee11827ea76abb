//! A chain of layers whose graph keeps what it needs. So it measures the memory and the time of training, not
//! those of a loop that frees each result at once.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::TrueDropout;

use crate::table::{kind_of, new_table, right_align};
use crate::timing::{Effort, Times, median, wait_for};
use crate::{child, goals};

pub const LAYERS: usize = 16;
pub const P: f64 = 0.1;

const NONE: &str = "none (x * 1)";
const VARIANTS: [&str; 3] = [NONE, "Tensor::dropout", "elements"];

/// Runs the chain some times, after a warm-up: `kind dropout`, such as `f32 elements`. Returns the median seconds of the
/// forward pass, and of forward and backward; and the peak memory.
pub fn measure(chain: &str, size: i64, device: Device) -> Result<[f64; 3]> {
    let (kind, dropout) = chain.split_once(' ').context("a kind and a dropout")?;
    let layer = TrueDropout::elements(P)?;
    let forward: &dyn Fn(&Tensor) -> Tensor = match dropout {
        NONE => &|x| x * 1.0,
        "Tensor::dropout" => &|x| x.dropout(P, true),
        "elements" => &|x| layer.forward_t(x, true),
        _ => bail!("unknown dropout '{dropout}'"),
    };
    let kind = kind_of(kind)?;
    let mut times = [Vec::new(), Vec::new()];
    let turns = if device.is_cuda() { 20 } else { 3 };
    let peak = child::peak_memory(device, || {
        let random = || Tensor::rand([size, size], (Kind::Float, device)).to_kind(kind);
        let (x, weights) = (random().set_requires_grad(true), random().flatten(0, -1));
        for _ in 0..=turns {
            wait_for(device);
            let start = Instant::now();
            let y = (0..LAYERS).fold(x.shallow_clone(), |y, _| forward(&y));
            wait_for(device);
            times[0].push(start.elapsed().as_secs_f64());
            let loss = y.flatten(0, -1).dot(&weights);
            drop(y);
            drop(Tensor::run_backward(&[loss], &[&x], false, false));
            wait_for(device);
            times[1].push(start.elapsed().as_secs_f64());
        }
        Ok(())
    })?;
    let [forward, both] = times.map(|times| median(times[1..].to_vec()));
    Ok([forward, both, peak])
}

/// Processes take turns; the figures are medians over them.
pub fn table(sizes: &[i64], device: Device, effort: Effort) -> Result<Table> {
    let mut table = new_table(&[
        "shape",
        "kind",
        "dropout",
        "forward, ms",
        "with backward, ms",
        "peak, MB",
        "vs none: forward",
        "with backward",
        "memory",
        "goal",
    ]);
    // Half precision is a GPU's.
    let kinds: &[&str] = if device.is_cuda() { &["f32", "bf16"] } else { &["f32"] };
    for (&size, &kind) in sizes.iter().flat_map(|size| kinds.iter().map(move |kind| (size, kind))) {
        let mut figures = VARIANTS.map(|_| [const { Vec::new() }; 3]);
        for _ in 0..effort.processes {
            for (dropout, figures) in VARIANTS.iter().zip(&mut figures) {
                let found = child::measure(&format!("chain {kind} {dropout}"), size, device)?;
                figures.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
            }
        }
        let figures = figures.map(|figures| figures.map(Times::of));
        let none = figures[0];
        for (dropout, figures) in VARIANTS.iter().zip(&figures) {
            let [forward, both, peak] = figures;
            let times_none = |i: usize| format!("{:.2}", figures[i].median / none[i].median);
            let goal = match *dropout {
                // Of what libtorch's allocator has in blocks of some megabytes.
                "elements" => goals::all(&[goals::at_most(
                    peak.median / none[2].median,
                    1.02,
                    "none's memory",
                )]),
                _ => String::new(),
            };
            table.add_row([
                format!("[{size}, {size}]"),
                kind.to_owned(),
                dropout.to_string(),
                forward.shown(1e-3, 2),
                both.shown(1e-3, 2),
                format!("{:.0}", peak.median / 1e6),
                times_none(0),
                times_none(1),
                times_none(2),
                goal,
            ]);
        }
    }
    right_align(&mut table, 3);
    Ok(table)
}
