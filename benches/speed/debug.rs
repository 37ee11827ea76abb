//! What an importing project's debug build makes of this crate, whose loops are Rust; libtorch is compiled already.

use std::env;
use std::process::Command;

use anyhow::{Result, ensure};
use comfy_table::Table;
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{GaussianDropout, TrueDropout};

use crate::child;
use crate::contest::{Forward, Pass, race};
use crate::table::{new_table, right_align};
use crate::timing::{Effort, Times};

pub const SIDE: i64 = 1024;
/// The name of what a build's process does.
pub const WORK: &str = "debug";
/// build.md's two lines, as an option of cargo.
const OPTIMIZED: &str = "profile.dev.package.tch-dropout.opt-level=3";
const BUILDS: [(&str, &[&str]); 3] = [
    ("debug", &["--profile", "dev"]),
    ("debug, with the two lines of build.md", &["--profile", "dev", "--config", OPTIMIZED]),
    ("release", &[]),
];

/// In this process: libtorch, elements for two probabilities, and normal numbers, in milliseconds.
pub fn measure(side: i64) -> Result<[f64; 4]> {
    let elements = |p| Ok::<_, tch_dropout::Error>(forward(TrueDropout::elements(p)?));
    let forwards: [Forward; 4] = [
        Box::new(|x: &Tensor| x.dropout(0.5, true)),
        elements(0.5)?,
        elements(0.1)?,
        forward(GaussianDropout::elements(0.5)?),
    ];
    let (shape, pass) = ([side, side], Pass::ForwardBackward);
    let times = race(&forwards, &shape, Kind::Float, pass, Device::Cpu, Effort::FULL);
    Ok(std::array::from_fn(|i| times[i].median / 1e6))
}

fn forward(layer: impl ModuleT + 'static) -> Forward {
    Box::new(move |x| layer.forward_t(x, true))
}

/// Builds take turns, each in processes of its own; the figures are medians over these.
pub fn table(effort: Effort) -> Result<Table> {
    let mut table = new_table(&[
        "build",
        "Tensor::dropout, ms",
        "elements, p = 0.5",
        "elements, p = 0.1",
        "GaussianDropout",
    ]);
    let mut times = BUILDS.map(|_| [const { Vec::new() }; 4]);
    for _ in 0..effort.processes {
        for ((_, options), times) in BUILDS.iter().zip(&mut times) {
            let found: [f64; 4] = child::measure_in(bench(options)?, WORK, SIDE, Device::Cpu)?;
            times.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
        }
    }
    for ((name, _), times) in BUILDS.iter().zip(times) {
        let times = times.map(|times| Times::of(times).shown(1.0, 3));
        table.add_row([name.to_owned()].into_iter().chain(times.each_ref().map(String::as_str)));
    }
    right_align(&mut table, 1);
    Ok(table)
}

/// This bench in another build, up to its own arguments.
fn bench(options: &[&str]) -> Result<Command> {
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["bench", "--bench", "speed"]);
        cargo.args(options);
        cargo
    };
    // Shows the compiler's progress.
    ensure!(cargo().arg("--no-run").status()?.success(), "cargo cannot build the bench");
    let mut bench = cargo();
    bench.args(["--quiet", "--"]);
    Ok(bench)
}
