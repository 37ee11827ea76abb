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
    kernel: Option<String>,
    rustc: Option<String>,
    commit: Option<String>,
    date: Option<String>,
}

#[derive(Deserialize)]
struct Measurement {
    shape: Vec<u64>,
    kind: String,
    pass: String,
    p: f64,
    variant: String,
    median_ns: f64,
    /// Figures from before the bench wrote them have none.
    quartiles_ns: Option<[f64; 2]>,
}

/// The measurements of one shape.
pub struct Row {
    pub shape: Vec<u64>,
    /// Forward and backward, and forward alone.
    pub pairs: [Pair; 2],
}

/// What a call took in the turns of the bench, in nanoseconds.
pub struct Time {
    pub median: f64,
    pub quartiles: Option<[f64; 2]>,
}

impl Time {
    /// All of its bar and of the spread.
    pub fn longest(&self) -> f64 {
        self.quartiles.map_or(self.median, |[_, high]| high.max(self.median))
    }
}

/// Two times of the same work.
pub struct Pair {
    pub libtorch: Time,
    pub ours: Time,
}

impl Pair {
    pub fn ratio(&self) -> f64 {
        self.libtorch.median / self.ours.median
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
            let found = measurement.with_context(|| format!("the figures lack {what}"))?;
            let time = Time { median: found.median_ns, quartiles: found.quartiles_ns };
            for ns in time.quartiles.iter().flatten().chain([&time.median]) {
                ensure!(*ns > 0.0 && ns.is_finite(), "{what} should take some time, not {ns} ns");
            }
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
        let Machine { device, cpu, threads, libtorch, .. } = &self.machine;
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

    /// What the lines on the bars are, and where the figures come from, as far as the bench has said so.
    pub fn provenance(&self) -> Option<String> {
        let Machine { kernel, rustc, commit, date, .. } = &self.machine;
        let commit = commit.as_ref().map(|commit| format!("commit {commit}"));
        // Without the hash and the date in brackets.
        let rustc = rustc.as_deref().and_then(|rustc| rustc.split(" (").next());
        let known: Vec<&str> = [commit.as_deref(), date.as_deref(), rustc, kernel.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let has_quartiles = self.single().any(|measurement| measurement.quartiles_ns.is_some());
        let lines = "A line on a bar: the middle half of the turns. ";
        let lines = if has_quartiles { lines } else { "" };
        (!known.is_empty()).then(|| format!("{lines}{}.", known.join(", ")))
    }
}
