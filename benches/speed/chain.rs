//! A chain of layers whose graph keeps what it needs. So it measures the memory and the time of training, not
//! those of a loop that frees each result at once.

use std::time::Instant;

use anyhow::{Result, bail};
use comfy_table::Table;
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::TrueDropout;

use crate::timing::{Effort, median};
use crate::{child, new_table, right_align};

pub const LAYERS: usize = 16;
pub const P: f64 = 0.1;

const NONE: &str = "none (x * 1)";
const VARIANTS: [&str; 3] = [NONE, "Tensor::dropout", "elements"];

/// Runs the chain three times, after a warm-up. Returns the median seconds of the forward pass, and of
/// forward and backward; and the peak memory.
pub fn measure(dropout: &str, size: i64) -> Result<[f64; 3]> {
    let layer = TrueDropout::elements(P)?;
    let forward: &dyn Fn(&Tensor) -> Tensor = match dropout {
        NONE => &|x| x * 1.0,
        "Tensor::dropout" => &|x| x.dropout(P, true),
        "elements" => &|x| layer.forward_t(x, true),
        _ => bail!("unknown dropout '{dropout}'"),
    };
    let random = || Tensor::rand([size, size], (Kind::Float, Device::Cpu));
    let (x, weights) = (random().set_requires_grad(true), random().flatten(0, -1));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        let start = Instant::now();
        let y = (0..LAYERS).fold(x.shallow_clone(), |y, _| forward(&y));
        times[0].push(start.elapsed().as_secs_f64());
        let loss = y.flatten(0, -1).dot(&weights);
        drop(y);
        drop(Tensor::run_backward(&[loss], &[&x], false, false));
        times[1].push(start.elapsed().as_secs_f64());
    }
    let [forward, both] = times.map(|times| median(times[1..].to_vec()));
    Ok([forward, both, child::peak_memory()])
}

/// Processes take turns; the figures are medians over them.
pub fn table(sizes: &[i64], effort: Effort) -> Result<Table> {
    let mut table = new_table(&[
        "shape",
        "dropout",
        "forward, s",
        "with backward, s",
        "peak, MB",
        "vs none: forward",
        "with backward",
        "memory",
    ]);
    for &size in sizes {
        let mut figures = VARIANTS.map(|_| [const { Vec::new() }; 3]);
        for _ in 0..effort.processes {
            for (dropout, figures) in VARIANTS.iter().zip(&mut figures) {
                let found = child::measure(&format!("chain {dropout}"), size)?;
                figures.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
            }
        }
        let medians = figures.map(|figures| figures.map(median));
        for (dropout, figures) in VARIANTS.iter().zip(&medians) {
            let [forward, both, peak] = figures;
            let times_none = |i: usize| format!("{:.2}", figures[i] / medians[0][i]);
            table.add_row([
                format!("[{size}, {size}]"),
                dropout.to_string(),
                format!("{forward:.3}"),
                format!("{both:.3}"),
                format!("{:.0}", peak / 1e6),
                times_none(0),
                times_none(1),
                times_none(2),
            ]);
        }
    }
    right_align(&mut table, 2);
    Ok(table)
}
