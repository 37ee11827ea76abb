//! A language model of characters that is trained twice, side by side: without dropout and with it. The text
//! is this repository's two licences, so little that the first model soon knows it by heart.
//!
//!     cargo run --release --example language_model -- --out language_model.svg
//!     cargo run --release --example language_model -- --model lstm --out lstm.svg

// The one of the experiment on MNIST, which is a package of its own.
#[path = "../mnist/src/device.rs"]
mod device;
mod drawing;
mod learner;
mod lstm;
mod model;
mod text;
mod transformer;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use picture::page::TRIAL;

use crate::device::Choice;
use crate::learner::{Learner, Losses};
use crate::model::Architecture;
use crate::text::Text;

/// Trains a language model without dropout and with it, and compares their losses
#[derive(Parser)]
struct Args {
    /// The model
    #[arg(long, value_enum, default_value_t = Architecture::Transformer)]
    model: Architecture,

    /// Where to train: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto")]
    device: Choice,

    /// Sequences per step
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,

    /// Multiplies all probabilities of dropping
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,

    /// The number of training steps
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// The seed of the initial weights, the batches and the masks
    #[arg(long, default_value_t = 1)]
    seed: u32,

    /// Draw the losses to an SVG file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// A trial of 10 steps, whose losses mean nothing
    #[arg(long, conflicts_with = "steps")]
    quick: bool,
}

/// The losses are measured at the start, and about so many times more.
const MEASUREMENTS: u32 = 20;

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
    let device = args.device.resolve()?;
    let text = Text::of_licences(device);
    tch::manual_seed(args.seed.into());
    let mut without = Learner::new("without dropout", args.model, (text.symbols(), device), 0.0)?;
    let mut with = Learner::new("with dropout", args.model, (text.symbols(), device), args.scale)?;
    with.begin_as(&without)?;

    let steps = if args.quick { 10 } else { args.steps };
    let every = steps.div_ceil(MEASUREMENTS);
    let start = Instant::now();
    print_heading(&text, &without, out)?;
    for step in 0..=steps {
        if step > 0 {
            let batch = text.batch(args.batch_size.into());
            without.learn(&batch);
            with.learn(&batch);
        }
        if step % every == 0 || step == steps {
            let losses = [without.measure(step, &text), with.measure(step, &text)];
            print_row(step, start.elapsed().as_secs(), losses, out)?;
        }
    }
    let learners = [without, with];
    for learner in &learners {
        let (step, loss) = learner.best().ok_or_else(|| anyhow!("no loss is a number"))?;
        writeln!(out, "Lowest validation loss {}: {loss:.3}, at step {step}.", learner.name)?;
    }

    if args.quick {
        writeln!(out, "This is {TRIAL}.")?;
    }
    let Some(file) = &args.out else { return Ok(()) };
    let svg = drawing::draw(&learners, args.model, args.quick);
    fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    writeln!(out, "wrote {}", file.display())?;
    Ok(())
}

fn print_heading(text: &Text, learner: &Learner, out: &mut impl Write) -> io::Result<()> {
    let (training, validation) = text.lengths();
    writeln!(
        out,
        "{training} characters to train on, {validation} to validate on, {} of them different.",
        text.symbols()
    )?;
    writeln!(
        out,
        "{} weights. Losses in nats per character, with dropout off:\n",
        learner.weights()
    )?;
    writeln!(out, "                    without dropout         with dropout")?;
    writeln!(out, "  step   seconds  training  validation  training  validation")
}

fn print_row(step: u32, seconds: u64, losses: [Losses; 2], out: &mut impl Write) -> io::Result<()> {
    write!(out, "{step:6}{seconds:10}")?;
    for Losses { training, validation } in losses {
        write!(out, "{training:10.3}{validation:12.3}")?;
    }
    writeln!(out)?;
    out.flush()
}
