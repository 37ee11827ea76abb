//! How good predictions are, and how certain these figures are.

use serde::{Deserialize, Serialize};

/// Counts of each pair of label and prediction.
pub struct Confusion {
    classes: usize,
    /// Row by label, column by prediction.
    counts: Vec<u64>,
}

impl Confusion {
    pub fn new(labels: &[i64], predictions: &[i64]) -> Self {
        assert_eq!(labels.len(), predictions.len(), "one prediction for each label");
        let classes = labels.iter().chain(predictions).max().map_or(0, |&class| class as usize + 1);
        let mut counts = vec![0; classes * classes];
        for (&label, &prediction) in labels.iter().zip(predictions) {
            counts[label as usize * classes + prediction as usize] += 1;
        }
        Confusion { classes, counts }
    }

    fn hits(&self, class: usize) -> u64 {
        self.counts[class * self.classes + class]
    }

    fn labelled(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum()
    }

    fn predicted(&self, class: usize) -> u64 {
        self.counts[class..].iter().step_by(self.classes).sum()
    }

    /// The share of correct predictions.
    pub fn accuracy(&self) -> f64 {
        let hits: u64 = (0..self.classes).map(|class| self.hits(class)).sum();
        hits as f64 / self.counts.iter().sum::<u64>() as f64
    }

    /// The mean over classes of F1, the harmonic mean of precision and recall.
    ///
    /// As scikit-learn's `f1_score(average="macro")`: over the classes that occur among the labels
    /// or the predictions; 0 for one that is never predicted.
    pub fn macro_f1(&self) -> f64 {
        let f1: Vec<f64> = (0..self.classes)
            .map(|class| (self.hits(class), self.labelled(class) + self.predicted(class)))
            .filter(|&(_, occurrences)| occurrences > 0)
            .map(|(hits, occurrences)| 2.0 * hits as f64 / occurrences as f64)
            .collect();
        f1.iter().sum::<f64>() / f1.len() as f64
    }
}

/// The middle one, or the lesser of two: of times, the one that is less disturbed.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() - 1) / 2]
}

/// One figure over several runs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Summary {
    pub mean: f64,
    /// The sample standard deviation, for two or more runs.
    pub std: Option<f64>,
    pub runs: Vec<f64>,
}

impl Summary {
    pub fn new(runs: Vec<f64>) -> Self {
        let n = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / n;
        let squares: f64 = runs.iter().map(|run| (run - mean).powi(2)).sum();
        let std = (runs.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Summary { mean, std, runs }
    }

    /// The mean's standard error, for two or more runs.
    pub fn standard_error(&self) -> Option<f64> {
        Some(self.std? / (self.runs.len() as f64).sqrt())
    }
}
