//! Dropout side by side: `cargo bench --bench speed -- --help`.
//!
//! All variants in a row take turns in one run, so that any disturbance of the machine affects them alike.
//! Times are medians over the turns; what follows `±` is half the distance between their quartiles.

mod attention;
mod attention_picture;
mod chain;
mod checkpoint;
mod child;
mod contest;
mod debug;
mod family;
mod goals;
mod gpu;
mod machine;
mod residual;
mod table;
mod timing;
mod transformer;
mod work;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use comfy_table::Table;
use serde::Serialize;
use tch::{Cuda, Device, Kind};

#[path = "../../src/fused_attention.rs"]
mod fused_attention;
/// What that file asks of its crate: nothing is traced here.
mod trace {
    pub(crate) fn is_tracing() -> bool {
        false
    }
}

use contest::{Measurement, Pass};
use machine::Machine;
use table::{new_table, right_align};
use timing::Effort;

/// Compares this crate's dropout with libtorch's, and both with a single pass over the tensor
#[derive(Parser)]
struct Args {
    /// Use fewer shapes and turns: shows that the bench works, not how fast anything is
    #[arg(long)]
    quick: bool,

    /// Where to run: cpu or cuda
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "cuda"])]
    device: String,

    /// Measure only one of the tables
    #[arg(long, value_name = "TABLE")]
    only: Option<Part>,

    /// Write the first table's figures, and what they were measured on, to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// With `--only attention`: draw its memory over the sequences' length to an SVG file, in place of the table
    #[arg(long, value_name = "FILE.svg", requires = "only")]
    plot: Option<PathBuf>,

    /// Run N processes beside the bench that each keep a core busy
    #[arg(long, value_name = "N", default_value_t = 0)]
    busy: u32,

    /// Do without huge pages, as a system whose setting is `never` (Linux)
    #[arg(long)]
    no_huge_pages: bool,

    /// The work of a child process
    #[arg(long, hide = true)]
    child: Option<String>,

    /// The size of the child's tensors
    #[arg(long, hide = true, default_value_t = 0)]
    size: i64,

    /// Added by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Noise shapes, shapes, kinds and passes
    Shapes,
    /// A residual plus a dropped tensor
    Residual,
    /// Time per element by size
    Curve,
    /// The other layers, each against its peer
    Family,
    /// Layers in a row, whose outputs the graph keeps: time and memory
    Chain,
    /// A chain of blocks, and how much memory checkpoints around them save
    Checkpoint,
    /// Attention with dropout: time and memory
    Attention,
    /// A training step of a transformer encoder
    Transformer,
    /// Only if asked for: this crate in a debug build, which compiles tch and torch-sys once more (minutes)
    Debug,
}

/// The probabilities of dropping in the table: one that needs one bit per element, and one that needs more.
const PROBABILITIES: [f64; 2] = [0.5, 0.1];

/// The content of the JSON file.
#[derive(Serialize)]
struct Figures {
    machine: Machine,
    measurements: Vec<Measurement>,
}

fn main() -> ExitCode {
    match run(&Args::parse(), &mut io::stdout().lock()) {
        Err(error) if !is_closed_pipe(&error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
        // Whoever reads has enough.
        _ => ExitCode::SUCCESS,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    let device = if args.device == "cuda" { Device::Cuda(0) } else { Device::Cpu };
    ensure!(!device.is_cuda() || Cuda::is_available(), "libtorch finds no GPU");
    if let Some(work) = &args.child {
        return work::run(work, args.size, device);
    }
    let is_drawn = args.only == Some(Part::Attention) && !device.is_cuda();
    ensure!(args.plot.is_none() || is_drawn, "--plot needs --only attention, on a CPU");
    let has_shapes = args.only.is_none_or(|only| only == Part::Shapes);
    ensure!(args.json.is_none() || has_shapes, "--json is for the table shapes");
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    if let Some(path) = &args.json {
        // Before the minutes that the bench takes, not after them.
        let cannot = || format!("cannot write {}", path.display());
        std::fs::File::options().append(true).create(true).open(path).with_context(cannot)?;
    }
    if args.no_huge_pages {
        machine::disable_huge_pages()?;
    }
    let machine = Machine::new(device);
    writeln!(out, "{machine}")?;
    let _busy = child::Busy::new(args.busy)?;
    if let Some(path) = &args.plot {
        let picture = attention_picture::draw(args.quick, &machine)?;
        return std::fs::write(path, picture)
            .with_context(|| format!("cannot write {}", path.display()));
    }

    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Shapes) {
        let measurements = measurements(device, args.quick, effort);
        let table = table(&measurements, device);
        if let Some(path) = &args.json {
            let text = serde_json::to_string_pretty(&Figures { machine, measurements })?;
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        writeln!(out, "\n{table}")?;
    }
    if wanted(Part::Residual) {
        let table = residual::table(shapes(args.quick), device, effort);
        writeln!(out, "\na residual plus a dropped tensor, p = {}\n{table}", residual::P)?;
    }
    if wanted(Part::Curve) {
        let curve = contest::curve(device, effort);
        writeln!(out, "\nns per element by size, f32, forward, p = 0.5\n{curve}")?;
    }
    if wanted(Part::Family) {
        let table = family::table(device, effort);
        writeln!(out, "\nother layers, f32, p = {}\n{table}", family::P)?;
    }
    if wanted(Part::Chain) {
        let sizes: &[i64] = match device {
            _ if args.quick => &[256],
            Device::Cpu => &[2048, 4096],
            _ => &[4096],
        };
        let table = chain::table(sizes, device, effort)?;
        writeln!(out, "\na chain of {} layers, p = {}\n{table}", chain::LAYERS, chain::P)?;
    }
    if wanted(Part::Checkpoint) && !device.is_cuda() {
        let width = if args.quick { 64 } else { 256 };
        writeln!(
            out,
            "\ncheckpoints in a chain of {} blocks, [{}, {width}], f32\n{}",
            checkpoint::BLOCKS,
            checkpoint::ROWS,
            checkpoint::table(width, effort)?
        )?;
    }
    if wanted(Part::Attention) && !device.is_cuda() {
        writeln!(
            out,
            "\nattention, p = {}\n{}",
            attention::P,
            attention::table(args.quick, effort)?
        )?;
    }
    if wanted(Part::Transformer) {
        let table = transformer::table(device, effort)?;
        writeln!(out, "\na training step of a transformer encoder\n{table}")?;
    }
    if args.only == Some(Part::Debug) {
        let (side, table) = (debug::SIDE, debug::table(effort)?);
        writeln!(
            out,
            "\nin builds without optimization, [{side}, {side}], f32, with backward\n{table}"
        )?;
    }
    Ok(())
}

fn shapes(quick: bool) -> &'static [&'static [i64]] {
    if quick {
        &[&[64, 512], &[8, 16, 14, 14]]
    } else {
        &[&[64, 512], &[256, 1024], &[4096, 4096], &[32, 64, 56, 56]]
    }
}

fn measurements(device: Device, quick: bool, effort: Effort) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    for &shape in shapes(quick) {
        for kind in [Kind::Float, Kind::BFloat16] {
            for pass in [Pass::Forward, Pass::ForwardBackward] {
                for p in PROBABILITIES {
                    measurements.extend(contest::run(shape, kind, pass, p, device, effort));
                }
            }
        }
    }
    measurements
}

fn table(rows: &[Measurement], device: Device) -> Table {
    const HEADER: [&str; 10] = [
        "shape",
        "kind",
        "pass",
        "p",
        "variant",
        "ms",
        "ns/element",
        "vs libtorch",
        "vs one pass",
        "goal",
    ];
    let columns = HEADER.len() - if device.is_cuda() { 0 } else { 1 };
    let mut table = new_table(&HEADER[..columns]);
    for row in rows {
        let cells = [
            format!("{:?}", row.shape),
            row.kind.clone(),
            row.pass.to_string(),
            format!("{}", row.p),
            row.variant.to_owned(),
            row.times().shown(1e6, 4),
            format!("{:.3}", row.ns_per_element),
            format!("{:.2}x as fast", row.vs_libtorch),
            format!("{:.2}", row.vs_one_pass),
            goals::of(row),
        ];
        table.add_row(&cells[..columns]);
    }
    right_align(&mut table, 5);
    table
}
