//! The options that all experiments take, and where their results go.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::builder::{PathBufValueParser, TypedValueParser};
use picture::page::{Page, TRIAL};
use serde::Serialize;
use tch::Device;

use mnist_experiment::console::{note, print};
use mnist_experiment::data::{self, BUILT_IN, DEFAULT_DIRECTORY, Dataset};
use mnist_experiment::device::Choice;
use mnist_experiment::output;
use mnist_experiment::report::device_name;
use mnist_experiment::values::{svg, whole};

#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Where to train: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto")]
    pub device: Choice,

    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Use built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    /// A trial of a few seconds: smaller networks, less data and fewer steps, whose figures mean nothing
    #[arg(long)]
    pub quick: bool,

    /// Images per step [default: 100, or 250 for errors without --quick]
    #[arg(long, value_parser = whole(1..=i64::MAX))]
    pub batch_size: Option<i64>,

    /// Runs of everything, each with its own seed [default: 3, or 2 with --quick]
    #[arg(long, value_parser = whole(1..=1_000))]
    pub runs: Option<i64>,

    /// The first run's seed; each further run adds 1
    #[arg(long, default_value_t = 0, value_parser = whole(0..=1_000_000_000))]
    pub seed: i64,

    /// Write all figures to a JSON file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw the picture to an SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = PathBufValueParser::new().try_map(svg))]
    pub plot: Option<PathBuf>,
}

/// What the JSON file has.
#[derive(Serialize)]
struct Report<'a, R> {
    experiment: &'a str,
    data: &'a str,
    device: String,
    quick: bool,
    seed: i64,
    runs: i64,
    results: R,
}

impl Options {
    /// The first of these, or the second with `--quick`.
    pub fn full_or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub fn batch_size(&self) -> i64 {
        self.batch_size.unwrap_or(100)
    }

    /// One for each run.
    pub fn seeds(&self) -> Range<i64> {
        self.seed..self.seed + self.runs()
    }

    pub fn runs_in_words(&self) -> String {
        in_words(self.runs())
    }

    pub fn runs(&self) -> i64 {
        self.runs.unwrap_or(self.full_or_quick(3, 2))
    }

    /// The paper's figure, if this run's can be compared with it.
    pub fn paper(&self, figure: Option<f64>, data: &Dataset) -> Option<f64> {
        figure.filter(|_| !self.quick && data.is_whole_mnist())
    }

    fn is_trial(&self, data: &str) -> bool {
        self.quick || data == BUILT_IN
    }

    /// A page for the experiment's picture.
    pub fn page(&self, title: &str, description: &str, height: f64, data: &str) -> Page {
        Page::titled(title, description, height, self.is_trial(data))
    }

    /// Loads the data, once it is clear that the results can be written.
    pub fn dataset(&self) -> Result<Dataset> {
        let device = self.device()?;
        let dataset = if self.synthetic {
            data::synthetic(device)?
        } else {
            data::load(self.data_dir.as_deref(), device)?
        };
        let (train, test) = (dataset.train.items(), dataset.test.items());
        note(format_args!("{}: {train} training and {test} test images.", dataset.name));
        Ok(dataset)
    }

    /// Where to train, once it is clear that the results can be written.
    pub fn device(&self) -> Result<Device> {
        let device = self.device.resolve()?;
        self.check()?;
        Ok(device)
    }

    /// Whether the results can be written.
    pub fn check(&self) -> Result<()> {
        let files = [&self.json, &self.plot].map(|file| file.as_deref().map(output::destination));
        ensure!(files[0].is_none() || files[0] != files[1], "--json and --plot name the same file");
        [&self.json, &self.plot]
            .into_iter()
            .flatten()
            .try_for_each(|file| output::check_writable(file))
    }

    /// Writes the results of an experiment to the files that were asked for, and says if they mean nothing.
    pub fn write(
        &self,
        experiment: &str,
        data: &str,
        results: impl Serialize,
        picture: &str,
    ) -> Result<()> {
        if self.is_trial(data) {
            print(format_args!("This is {TRIAL}."))?;
        }
        if let Some(file) = &self.json {
            let (quick, seed, runs) = (self.quick, self.seed, self.runs());
            let device = device_name(self.device.resolve()?);
            let report = Report { experiment, data, device, quick, seed, runs, results };
            let mut json = serde_json::to_vec_pretty(&report)?;
            json.push(b'\n');
            output::write(file, &json)?;
        }
        self.plot.as_ref().map_or(Ok(()), |file| output::write(file, picture.as_bytes()))
    }
}

/// A number of runs: 3 runs.
pub fn in_words(runs: i64) -> String {
    let s = if runs == 1 { "" } else { "s" };
    format!("{runs} run{s}")
}

/// With a comma: 5,000.
pub fn thousands(count: i64) -> String {
    if count < 1_000 {
        count.to_string()
    } else {
        format!("{},{:03}", count / 1_000, count % 1_000)
    }
}
