//! The bench's figures, as far as the chart needs them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The probability of dropping that is drawn.
const P: f64 = 0.5;

#[derive(Deserialize)]
pub struct Figures {
    machine: Machine,
    measurements: Vec<Measurement>,
}

#[derive(Deserialize)]
struct Machine {
    device: String,
    cpu: Option<String>,
    threads: u32,
    libtorch: Option<String>,
}

#[derive(Deserialize)]
struct Measurement {
    shape: Vec<u64>,
    kind: String,
    pass: String,
    p: f64,
    variant: String,
    median_ns: f64,
}

/// The measurements of one shape.
pub struct Row {
    pub shape: Vec<u64>,
    /// Forward and backward, and forward alone.
    pub pairs: [Pair; 2],
}

/// Two times of the same work, in nanoseconds.
pub struct Pair {
    pub libtorch: f64,
    pub ours: f64,
}

impl Pair {
    pub fn ratio(&self) -> f64 {
        self.libtorch / self.ours
    }
}

impl Figures {
    pub fn read(path: &Path) -> Result<Figures> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| {
            format!("{} is not what `cargo bench --bench speed -- --json` writes", path.display())
        })
    }

    /// In the order of the file.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let mut shapes: Vec<_> = self.single().map(|measurement| &measurement.shape).collect();
        shapes.dedup();
        ensure!(!shapes.is_empty(), "the figures have none of f32");
        let row = |shape: &Vec<u64>| {
            let pairs = [self.pair(shape, "forward_backward")?, self.pair(shape, "forward")?];
            Ok(Row { shape: shape.clone(), pairs })
        };
        shapes.into_iter().map(row).collect()
    }

    fn pair(&self, shape: &[u64], pass: &str) -> Result<Pair> {
        let time = |variant: &str| {
            let same = |measurement: &&Measurement| {
                (&measurement.shape[..], &measurement.pass[..], &measurement.variant[..])
                    == (shape, pass, variant)
            };
            let what = format!("'{variant}' on {shape:?}, f32, {pass}");
            let measurement = self.single().find(same);
            let time = measurement.with_context(|| format!("the figures lack {what}"))?.median_ns;
            ensure!(time > 0.0 && time.is_finite(), "{what} should take some time, not {time} ns");
            Ok(time)
        };
        Ok(Pair { libtorch: time("Tensor::dropout")?, ours: time("elements")? })
    }

    fn single(&self) -> impl Iterator<Item = &Measurement> {
        self.measurements
            .iter()
            .filter(|measurement| measurement.kind == "f32" && measurement.p == P)
    }

    /// What was measured, and on which machine.
    pub fn caption(&self) -> String {
        let Machine { device, cpu, threads, libtorch } = &self.machine;
        let device = match cpu {
            Some(cpu) if device == "cpu" => cpu,
            _ => device,
        };
        let s = if *threads == 1 { "" } else { "s" };
        let mut caption = format!("f32, p = {P}, {device}, {threads} thread{s}");
        if let Some(version) = libtorch {
            caption += &format!(", libtorch {version}");
        }
        caption
    }
}
