//! What the experiment finds for a network, in files and in words.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use picture::style::Look;
use serde::{Deserialize, Serialize};

use mnist_experiment::console::print;
use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

use super::Variant;
use crate::compare::print_differences;

#[derive(Deserialize, Serialize)]
pub struct Outcome {
    pub name: String,
    pub units: i64,
    /// Test errors in percent, after each pass.
    pub errors: Vec<Summary>,
    /// The paper's.
    pub paper: Option<f64>,
}

/// What a JSON file has of a run.
#[derive(Deserialize)]
struct Saved {
    experiment: String,
    data: String,
    quick: bool,
    results: serde_json::Value,
}

impl Outcome {
    /// After the last pass.
    pub fn last(&self) -> &Summary {
        &self.errors[self.errors.len() - 1]
    }

    pub fn look(&self) -> Look {
        self.variant().1.look()
    }

    fn variant(&self) -> (usize, &'static Variant) {
        Variant::named(&self.name).expect("a result is of a network that is known")
    }

    /// The pass from which on the network makes fewer errors than another one, if it does at the end.
    fn ahead_from(&self, other: &Outcome) -> Option<usize> {
        let not_ahead = |(own, others): (&Summary, &Summary)| own.mean >= others.mean;
        let last = self.errors.iter().zip(&other.errors).rposition(not_ahead);
        let from = last.map_or(1, |index| index + 2);
        (from <= self.errors.len()).then_some(from)
    }
}

/// The data set's name, and all results of some files.
pub fn read_all(files: &[PathBuf]) -> Result<(String, Vec<Outcome>)> {
    let (mut data, mut results) = (None, Vec::new());
    for file in files {
        let (name, found) =
            read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let first: &String = data.get_or_insert_with(|| name.clone());
        ensure!(name == *first, "{} is about {name}, not {first}", file.display());
        results.extend(found);
    }
    results.sort_by_key(|outcome| (outcome.errors.len(), outcome.variant().0));
    Ok((data.context("no files")?, results))
}

fn read(file: &Path) -> Result<(String, Vec<Outcome>)> {
    let saved: Saved = serde_json::from_reader(BufReader::new(File::open(file)?))?;
    ensure!(saved.experiment == "errors", "its figures are of {}", saved.experiment);
    ensure!(!saved.quick, "its figures are a trial's, and mean nothing");
    let results: Vec<Outcome> = serde_json::from_value(saved.results)?;
    for Outcome { name, errors, .. } in &results {
        ensure!(Variant::named(name).is_some(), "there is no network {name}");
        ensure!(!errors.is_empty(), "{name} has no figures");
    }
    Ok((saved.data, results))
}

/// The results by the number of passes, each a group of its own. They are in this order.
pub fn by_length(results: &[Outcome]) -> impl Iterator<Item = &[Outcome]> + Clone {
    results.chunk_by(|a, b| a.errors.len() == b.errors.len())
}

pub fn print_all(results: &[Outcome]) -> Result<()> {
    for group in by_length(results) {
        let passes = group[0].errors.len();
        if by_length(results).count() > 1 {
            print(format_args!("After {passes} passes:"))?;
        }
        for outcome in group {
            let paper =
                outcome.paper.map_or(String::new(), |error| format!(" (the paper: {error:.2} %)"));
            let error = plus_minus(outcome.last(), 2);
            print(format_args!("{:10}: {error} % wrong{paper}", outcome.name))?;
        }
        print_differences(group.iter().map(|outcome| (&*outcome.name, outcome.last())))?;
        for outcome in &group[1..] {
            let first = &group[0];
            if let Some(pass) = outcome.ahead_from(first) {
                let (name, first) = (&outcome.name, &first.name);
                print(format_args!(
                    "{name:10}: fewer errors than {first} from pass {pass} of {passes} on"
                ))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errors: &[f64]) -> Outcome {
        let errors = errors.iter().map(|&error| Summary::new(vec![error])).collect();
        Outcome { name: "none".to_owned(), units: 1, errors, paper: None }
    }

    #[test]
    fn a_network_is_ahead_from_where_it_stays_ahead() {
        let none = outcome(&[5.0, 4.0, 3.0, 2.0]);
        let ahead = |errors: &[f64]| outcome(errors).ahead_from(&none);
        assert_eq!(ahead(&[4.0, 3.0, 2.0, 1.0]), Some(1));
        assert_eq!(ahead(&[4.0, 4.5, 2.0, 1.0]), Some(3));
        assert_eq!(ahead(&[6.0, 5.0, 4.0, 1.0]), Some(4));
        assert_eq!(ahead(&[4.0, 3.0, 2.0, 2.0]), None);
    }
}
