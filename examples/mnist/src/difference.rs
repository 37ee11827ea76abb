//! By how much figures differ, and how certain that is.

use std::fmt;

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::metrics::Summary;

/// Two runs have an interval too, but one so wide that it tells nothing.
const LEAST_RUNS: usize = 3;
const CONFIDENCE: f64 = 0.95;

/// A difference of means, with its 95 % confidence interval.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub mean: f64,
    /// Half the interval's width.
    pub margin: f64,
}

impl Difference {
    /// `a - b`, by Welch's test (B. L. Welch 1947, "The generalization of 'Student's' problem when several different
    /// population variances are involved"), for as many runs of both. Nothing for fewer than three.
    ///
    /// Runs of one seed begin with the same weights, but draw other masks, and so go other ways. What they still
    /// have in common makes the interval wider than it must be, never narrower; and pairs of them would have half
    /// the degrees of freedom.
    pub fn of(a: &Summary, b: &Summary) -> Option<Difference> {
        let (va, vb) = (a.standard_error()?.powi(2), b.standard_error()?.powi(2));
        let (na, nb) = (a.runs.len() as f64 - 1.0, b.runs.len() as f64 - 1.0);
        let freedom = (va + vb).powi(2) / (va.powi(2) / na + vb.powi(2) / nb);
        // Where all runs agree, any number of degrees gives the same interval, of no width.
        let freedom = if freedom.is_finite() { freedom } else { na + nb };
        let enough = a.runs.len().min(b.runs.len()) >= LEAST_RUNS;
        enough.then(|| Difference::new(a.mean - b.mean, (va + vb).sqrt(), freedom))
    }

    /// The mean of differences between pairs of runs, by Student's test. Nothing for fewer than three pairs.
    pub fn of_pairs(differences: &Summary) -> Option<Difference> {
        let (error, pairs) = (differences.standard_error()?, differences.runs.len());
        let freedom = pairs as f64 - 1.0;
        (pairs >= LEAST_RUNS).then(|| Difference::new(differences.mean, error, freedom))
    }

    fn new(mean: f64, error: f64, freedom: f64) -> Difference {
        let student = StudentsT::new(0.0, 1.0, freedom).expect("a positive number of degrees");
        Difference { mean, margin: error * student.inverse_cdf((1.0 + CONFIDENCE) / 2.0) }
    }

    /// Whether 0 is outside the interval.
    pub fn is_detected(self) -> bool {
        self.mean.abs() > self.margin
    }
}

/// With as many decimals as asked for: `+0.15 (95 % interval −0.02 to +0.32)`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let signed = |number: f64| format!("{number:+.decimals$}").replace('-', "−");
        let (least, most) = (self.mean - self.margin, self.mean + self.margin);
        write!(f, "{} (95 % interval {} to {})", signed(self.mean), signed(least), signed(most))
    }
}

/// In words: the difference, or why there is none.
pub fn in_words(difference: Option<Difference>, decimals: usize) -> String {
    match difference {
        Some(difference) => format!("{difference:.decimals$}"),
        None => format!("unknown, as it takes {LEAST_RUNS} runs or more to tell"),
    }
}
