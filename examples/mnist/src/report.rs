//! The results of training: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use comfy_table::{
    CellAlignment, ColumnConstraint::LowerBoundary, ContentArrangement, Table, TableComponent,
    Width, presets,
};
use picture::page::TRIAL;
use serde::Serialize;
use tch::Device;

use crate::args::Config;
use crate::curves::across;
use crate::data::{BUILT_IN, Dataset};
use crate::difference::Difference;
use crate::layer::Layer;
use crate::metrics::Summary;
use crate::model::Architecture;
use crate::output;
use crate::plot::Series;
use crate::train::Run;

/// The width of the table with space between its columns.
const WIDE: u16 = 72;
/// The longest name of a layer, which is never split over two lines.
const LONGEST_NAME: u16 = 12;

#[derive(Serialize)]
pub struct Report {
    dataset: Size,
    device: String,
    config: Config,
    results: Vec<LayerResult>,
    #[serde(skip)]
    is_whole_mnist: bool,
    /// Whether the figures mean nothing.
    #[serde(skip)]
    pub is_trial: bool,
}

#[derive(Serialize)]
struct Size {
    name: String,
    train: i64,
    test: i64,
}

#[derive(Serialize)]
struct LayerResult {
    layer: Layer,
    macro_f1: Summary,
    accuracy: Summary,
    seconds_per_epoch: Summary,
    /// The mean of each run's last epoch.
    training_loss: Summary,
    test_loss: Summary,
    /// Runs whose loss is no longer finite: their other figures mean nothing.
    diverged_runs: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    macro_f1_per_epoch: Vec<Summary>,
    #[serde(skip)]
    runs: Vec<Run>,
}

impl LayerResult {
    fn new(layer: Layer, runs: Vec<Run>) -> Self {
        let summary = |figure: fn(&Run) -> f64| Summary::new(runs.iter().map(figure).collect());
        LayerResult {
            layer,
            macro_f1: summary(|run| run.macro_f1),
            accuracy: summary(|run| run.accuracy),
            seconds_per_epoch: summary(|run| run.seconds_per_epoch),
            training_loss: summary(|run| run.training_loss),
            test_loss: summary(|run| run.test_loss),
            diverged_runs: runs.iter().filter(|run| run.has_diverged()).count(),
            macro_f1_per_epoch: across(runs.iter().map(|run| &run.curve.macro_f1)),
            runs,
        }
    }

    /// A row of the table.
    fn row(&self) -> [String; 4] {
        let diverged = if self.diverged_runs > 0 { " (diverged)" } else { "" };
        [
            format!("{}{diverged}", self.layer),
            plus_minus(&self.macro_f1, 4),
            plus_minus(&self.accuracy, 4),
            plus_minus(&self.seconds_per_epoch, 2),
        ]
    }

    fn series(&self) -> Series<'_> {
        let losses = across(self.runs.iter().map(|run| &run.curve.losses));
        Series {
            name: self.layer.to_string(),
            look: self.layer.look(),
            losses: losses.iter().map(|loss| loss.mean).collect(),
            macro_f1: &self.macro_f1_per_epoch,
        }
    }
}

impl Report {
    pub fn new(config: &Config, dataset: &Dataset, device: Device) -> Self {
        Report {
            dataset: Size {
                name: dataset.name.clone(),
                train: dataset.train.items(),
                test: dataset.test.items(),
            },
            device: device_name(device),
            config: config.clone(),
            results: Vec::new(),
            is_whole_mnist: dataset.is_whole_mnist(),
            is_trial: dataset.name == BUILT_IN,
        }
    }

    /// The data set and the device, in one line.
    pub fn heading(&self) -> String {
        let Size { name, train, test } = &self.dataset;
        format!("{name}: {train} training and {test} test images, on {}.", self.device)
    }

    /// Adds a run to those of a layer.
    pub fn add(&mut self, layer: Layer, run: Run) {
        match self.results.iter_mut().find(|result| result.layer == layer) {
            Some(result) => {
                let runs = std::mem::take(&mut result.runs).into_iter().chain([run]).collect();
                *result = LayerResult::new(layer, runs);
            }
            None => self.results.push(LayerResult::new(layer, vec![run])),
        }
    }

    /// The table, the article's figure and the comparison.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n{}", self.heading(), table(&self.results));
        if self.is_the_articles() {
            text += "\nThe article: macro F1 0.90, for its own layers and for the framework's.";
        }
        let in_turn = (self.config.runs == 1 && self.results.len() > 1).then(|| {
            "Layers with one run do not take turns: if the machine was busy, it slowed some more than others."
                .to_owned()
        });
        let trial = self.is_trial.then(|| format!("This is {TRIAL}."));
        for remark in
            self.comparison().into_iter().chain(self.divergence()).chain(in_turn).chain(trial)
        {
            let _ = write!(text, "\n{remark}");
        }
        text
    }

    /// Which layers' runs diverged, if any did.
    pub fn divergence(&self) -> Option<String> {
        let diverged = self.results.iter().filter(|result| result.diverged_runs > 0);
        let layers: Vec<_> = diverged
            .map(|it| format!("{} in {} of {} runs", it.layer, it.diverged_runs, it.runs.len()))
            .collect();
        let what =
            "the loss is no longer a number, and figures mean nothing; a smaller --lr may help";
        (!layers.is_empty()).then(|| format!("diverged: {} ({what})", layers.join(", ")))
    }

    /// Whether the article's figure can be compared with these.
    fn is_the_articles(&self) -> bool {
        self.is_whole_mnist && self.config.model == Architecture::Article
    }

    /// Whether a difference between our dropout and libtorch's shows above the noise of the seeds, if both were
    /// trained more than once.
    fn comparison(&self) -> Option<String> {
        let f1 = |layer| {
            let mut sound = self.results.iter().filter(|result| result.diverged_runs == 0);
            sound.find(|result| result.layer == layer).map(|result| &result.macro_f1)
        };
        // Elements are what libtorch drops; the article compares its columns.
        let layers = [Layer::Elements, Layer::TrueDropout];
        let (layer, ours) = layers.into_iter().find_map(|layer| Some((layer, f1(layer)?)))?;
        let theirs = f1(Layer::Libtorch)?;
        if ours.runs.len() == 1 {
            return None;
        }
        let verdict = match Difference::of(ours, theirs) {
            None => "too few runs to tell. It takes three".to_owned(),
            Some(difference) => {
                let detected =
                    if difference.is_detected() { "a difference" } else { "no difference" };
                format!("{detected} detected. Macro F1 differs by {difference:.4}, by Welch's test")
            }
        };
        Some(format!("{layer} and libtorch: {verdict}."))
    }

    /// The data set, the model and the number of runs, for a plot.
    pub fn title(&self) -> String {
        let Size { name, train, .. } = &self.dataset;
        let Config { model, p, runs, .. } = &self.config;
        let s = if *runs == 1 { "" } else { "s" };
        format!("{name}, {train} training images: {model}, p = {p}, {runs} run{s}")
    }

    /// The curves of each layer.
    pub fn series(&self) -> Vec<Series<'_>> {
        self.results.iter().map(LayerResult::series).collect()
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        output::write(path, &json)
    }
}

/// A row for each layer. On a narrow terminal, a figure takes two lines.
fn table(results: &[LayerResult]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["layer", "macro F1", "accuracy", "seconds per epoch"])
        .add_rows(results.iter().map(LayerResult::row));
    let between = if table.width().is_some_and(|width| width < WIDE) { 0 } else { 2 };
    for column in table.column_iter_mut() {
        column.set_padding((between, 0)).set_cell_alignment(CellAlignment::Right);
    }
    if let Some(layers) = table.column_mut(0) {
        layers.set_padding((0, 0)).set_cell_alignment(CellAlignment::Left);
        layers.set_constraint(LowerBoundary(Width::Fixed(LONGEST_NAME)));
    }
    table
}

/// A mean with its standard deviation, if there is one.
pub fn plus_minus(summary: &Summary, digits: usize) -> String {
    match summary.std {
        None => format!("{:.digits$}", summary.mean),
        Some(std) => format!("{:.digits$} ± {std:.digits$}", summary.mean),
    }
}

/// As a device is asked for on the command line.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}
