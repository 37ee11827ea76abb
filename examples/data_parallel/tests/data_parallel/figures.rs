//! What a run prints, and how good its model is.

use mnist_experiment::metrics::Summary;

use crate::mpirun::{SIZES, example, one_at_a_time, stderr, stdout, succeed};

/// The macro F1 in the table's only row.
fn macro_f1(text: &str) -> f64 {
    let row = text.lines().find(|line| line.contains('%')).expect(text);
    row.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).expect(row)
}

/// Of several seeds, whose spread is the noise. The batch is the same for all numbers of ranks, and so is all but the
/// masks.
#[test]
fn macro_f1_is_that_of_one_rank_within_the_noise() {
    let mut summaries = Vec::new();
    for ranks in SIZES {
        let figures = ["1", "2", "3", "4"].map(|seed| {
            succeed(ranks, &["--epochs", "1", "--seed", seed]).as_deref().map(macro_f1)
        });
        let Some(figures) = figures.into_iter().collect() else { return };
        summaries.push(Summary::new(figures));
    }
    let one = &summaries[0];
    assert!(one.mean > 0.95, "one rank should learn: {one:?}");
    for (ranks, many) in SIZES.iter().zip(&summaries) {
        let error = one.standard_error().unwrap().hypot(many.standard_error().unwrap());
        let difference = (one.mean - many.mean).abs();
        assert!(difference <= 3.0 * error, "{ranks} ranks: {many:?}, and one has {one:?}");
    }
}

#[test]
fn one_rank_prints_for_all() {
    let Some(mut run) = example(4, &["--epochs", "2", "--batch-size", "1000"]) else { return };
    let output = one_at_a_time(&mut run);
    let (text, progress) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{progress}");
    assert_eq!(text.matches("macro F1").count(), 1, "{text}");
    assert_eq!(text.matches("All replicas have the same weights").count(), 1, "{text}");
    for line in ["images, on 4 ranks.", "4 ranks epoch 1/2: loss", "4 ranks epoch 2/2: loss"] {
        assert_eq!(progress.matches(line).count(), 1, "{progress}");
    }
    let bad = one_at_a_time(&mut example(4, &["--epochs", "0"]).unwrap());
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(stderr(&bad).matches("expected at least 1, got 0").count(), 1, "{}", stderr(&bad));
}
