//! Attention with dropout, against libtorch's with and without it: time, and memory beyond the inputs.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use tch::{Device, Kind, Tensor};
use tch_dropout::Attention;

use crate::child;
use crate::fused_attention::fused_attention;
use crate::table::{new_table, right_align};
use crate::timing::{Effort, Times, median};

pub const P: f64 = 0.1;

/// The last is what the others are compared with.
const VARIANTS: [&str; 4] = ["Attention", "its definition", "libtorch", "libtorch, p = 0"];

/// Batch, heads, positions and features of a head.
const SHAPES: [[i64; 4]; 3] = [[8, 8, 256, 64], [4, 16, 1024, 64], [1, 8, 4096, 64]];

/// What is computed.
#[derive(Clone, Copy)]
pub struct Row {
    pub shape: [i64; 4],
    pub causal: bool,
    pub kind: Kind,
}

impl Row {
    fn all(quick: bool) -> Vec<Row> {
        if quick {
            return vec![Row { shape: [1, 2, 300, 16], causal: true, kind: Kind::Float }];
        }
        let f32s = SHAPES
            .into_iter()
            .flat_map(|shape| [false, true].map(|causal| Row { shape, causal, kind: Kind::Float }));
        let bf16 = Row { shape: SHAPES[1], causal: false, kind: Kind::BFloat16 };
        f32s.chain([bf16]).collect()
    }

    fn to_work(self) -> String {
        let numbers = self.shape.map(|dim| dim.to_string()).join(" ");
        format!("{numbers} {} {}", i32::from(self.causal), i32::from(self.kind == Kind::BFloat16))
    }

    /// The figures of a variant, in a process of its own.
    pub fn measure(self, variant: &str) -> Result<[f64; 3]> {
        child::measure(&format!("attention {variant}: {}", self.to_work()), 0, Device::Cpu)
    }

    fn from_work(text: &str) -> Option<Row> {
        let numbers =
            text.split(' ').map(|number| number.parse().ok()).collect::<Option<Vec<i64>>>()?;
        let [n, h, t, e, causal, half] = numbers[..] else { return None };
        let kind = if half == 1 { Kind::BFloat16 } else { Kind::Float };
        Some(Row { shape: [n, h, t, e], causal: causal == 1, kind })
    }
}

/// Runs it three times, after a warm-up. Returns the median seconds of the forward pass, and of forward and backward;
/// and the peak memory beyond that of the inputs and what libtorch needs for itself.
pub fn measure(work: &str) -> Result<[f64; 3]> {
    let (variant, row) = work.split_once(": ").context("a variant and a row")?;
    let row = Row::from_work(row).context("a row")?;
    let random = || Tensor::randn(row.shape, (Kind::Float, Device::Cpu)).to_kind(row.kind);
    let inputs = [(); 3].map(|()| random().set_requires_grad(true));
    let of_y = random();
    let layer = Attention::new(P)?.with_causal(row.causal);
    #[cfg(recompute)]
    if variant == "its definition" {
        tch_dropout::WEIGHTS_OF_A_BLOCK.store(usize::MAX, std::sync::atomic::Ordering::Relaxed);
    }
    let [query, key, value] = &inputs;
    let forward = |[query, key, value]: [&Tensor; 3]| {
        let by_libtorch = |p| fused_attention([query, key, value], None, p, row.causal, None);
        Ok(match variant {
            "Attention" | "its definition" => layer.f_forward(query, key, value, None, true)?,
            "libtorch" => by_libtorch(P)?,
            "libtorch, p = 0" => by_libtorch(0.0)?,
            _ => bail!("unknown variant '{variant}'"),
        })
    };
    // Loads libtorch's code and starts its threads.
    let small = [query, key, value].map(|x| x.narrow(2, 0, 64));
    Tensor::run_backward(&[forward(small.each_ref())?.sum(None)], &small, false, false);
    let before = child::peak_of_resident();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        let start = Instant::now();
        let y = forward([query, key, value])?;
        times[0].push(start.elapsed().as_secs_f64());
        let gradients = Tensor::run_backward(&[(y * &of_y).sum(None)], &inputs, false, false);
        times[1].push(start.elapsed().as_secs_f64());
        drop(gradients);
    }
    let [forward, both] = times.map(|times| median(times[1..].to_vec()));
    Ok([forward, both, child::peak_of_resident() - before])
}

/// Processes take turns; the figures are medians over them, and the ratios too.
pub fn table(quick: bool, effort: Effort) -> Result<Table> {
    let mut table = new_table(&[
        "shape",
        "kind",
        "causal",
        "variant",
        "forward, s",
        "with backward, s",
        "peak, MB",
        "vs p = 0: with backward",
        "memory",
    ]);
    for row in Row::all(quick) {
        let mut figures = VARIANTS.map(|_| [const { Vec::new() }; 5]);
        // Each takes up to 12 seconds.
        for _ in 0..effort.processes.min(3) {
            let found = VARIANTS
                .map(|variant| row.measure(variant))
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            let [_, both, peak] = found[VARIANTS.len() - 1];
            for (figures, found) in figures.iter_mut().zip(&found) {
                let ratios = [found[1] / both, found[2] / peak];
                figures
                    .iter_mut()
                    .zip(found.iter().chain(&ratios))
                    .for_each(|(all, &x)| all.push(x));
            }
        }
        for (variant, figures) in VARIANTS.iter().zip(figures) {
            let [forward, both, peak, ratio, memory] = figures.map(Times::of);
            table.add_row([
                format!("{:?}", row.shape),
                format!("{:?}", row.kind),
                row.causal.to_string(),
                variant.to_string(),
                forward.shown(1.0, 3),
                both.shown(1.0, 3),
                peak.shown(1e6, 0),
                ratio.shown(1.0, 2),
                memory.shown(1.0, 2),
            ]);
        }
    }
    right_align(&mut table, 4);
    Ok(table)
}
