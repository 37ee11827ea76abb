//! A chain of blocks, with checkpoints around one or several of them: the memory of training, and the time that
//! running them again takes.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::Table;
use tch::nn::{self, Module, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{TrueDropout, checkpoint};

use crate::child;
use crate::table::{new_table, right_align};
use crate::timing::{Effort, Times, median};

pub const BLOCKS: usize = 16;
pub const ROWS: i64 = 2048;
const P: f64 = 0.1;

/// How many blocks a checkpoint is around; 0 for none.
const VARIANTS: [(usize, &str); 4] =
    [(0, "no checkpoints"), (1, "around each block"), (2, "around two"), (4, "around four")];

/// The feed-forward half of a transformer's layer.
struct Block {
    inner: nn::Linear,
    outer: nn::Linear,
    hidden: TrueDropout,
    output: TrueDropout,
}

impl Block {
    fn new(vs: &nn::Path, width: i64) -> Result<Block> {
        let dropout = || TrueDropout::elements(P);
        Ok(Block {
            inner: nn::linear(vs / "inner", width, 4 * width, Default::default()),
            outer: nn::linear(vs / "outer", 4 * width, width, Default::default()),
            hidden: dropout()?,
            output: dropout()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.hidden.forward_t(&self.inner.forward(x).gelu("none"), true);
        self.output.forward_add(&self.outer.forward(&hidden), x, true)
    }
}

type Blocks = Vec<Block>;

fn forward(blocks: &Blocks, x: &Tensor) -> Tensor {
    blocks.iter().fold(x.shallow_clone(), |x, block| block.forward(&x))
}

/// Runs the chain three times, after a warm-up. Returns the median seconds of the forward pass, and of
/// forward and backward; and the peak memory.
pub fn measure(name: &str, width: i64) -> Result<[f64; 3]> {
    let (around, _) = VARIANTS.into_iter().find(|variant| variant.1 == name).context("variant")?;
    let vs = nn::VarStore::new(Device::Cpu);
    let mut blocks = (0..BLOCKS).map(|i| Block::new(&(vs.root() / i), width));
    let segments = (0..BLOCKS / around.max(1))
        .map(|_| {
            Ok(Arc::new(Mutex::new(blocks.by_ref().take(around.max(1)).collect::<Result<_>>()?)))
        })
        .collect::<Result<Vec<Arc<Mutex<Blocks>>>>>()?;
    let run = |segment: &Arc<Mutex<Blocks>>, x: &Tensor| {
        let segment = Arc::clone(segment);
        let run = move |x: &Tensor| forward(&segment.lock().expect("no panic"), x);
        if around == 0 { run(x) } else { checkpoint(run, x) }
    };
    let random = || Tensor::rand([ROWS, width], (Kind::Float, Device::Cpu));
    let (x, weights) = (random(), random().flatten(0, -1));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        let start = Instant::now();
        let y = segments.iter().fold(x.shallow_clone(), |x, segment| run(segment, &x));
        times[0].push(start.elapsed().as_secs_f64());
        let loss = y.flatten(0, -1).dot(&weights);
        drop(y);
        loss.backward();
        times[1].push(start.elapsed().as_secs_f64());
    }
    let [forward, both] = times.map(|times| median(times[1..].to_vec()));
    Ok([forward, both, child::peak_of_resident()])
}

/// Processes take turns; the figures are medians over them.
pub fn table(width: i64, effort: Effort) -> Result<Table> {
    let mut table = new_table(&[
        "checkpoints",
        "forward, s",
        "with backward, s",
        "peak, MB",
        "vs none: with backward",
        "memory",
    ]);
    let mut figures = VARIANTS.map(|_| [const { Vec::new() }; 3]);
    for _ in 0..effort.processes {
        for ((_, name), figures) in VARIANTS.iter().zip(&mut figures) {
            let found = child::measure(&format!("checkpoint {name}"), width, Device::Cpu)?;
            figures.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
        }
    }
    let figures = figures.map(|figures| figures.map(Times::of));
    let [_, both_of_none, peak_of_none] = figures[0];
    for ((_, name), [forward, both, peak]) in VARIANTS.iter().zip(&figures) {
        table.add_row([
            name.to_string(),
            forward.shown(1.0, 3),
            both.shown(1.0, 3),
            format!("{:.0}", peak.median / 1e6),
            format!("{:.2}", both.median / both_of_none.median),
            format!("{:.2}", peak.median / peak_of_none.median),
        ]);
    }
    right_align(&mut table, 1);
    Ok(table)
}
