//! The MNIST example's figures, compared with values computed by hand and with scikit-learn 1.9.

use mnist_experiment::metrics::{Confusion, Summary, median};

#[track_caller]
fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn by_hand() {
    // Precision and recall of class 0: 2/3 and 1, so F1 is 0.8. Class 1: 1 and 1/2, so 2/3.
    let confusion = Confusion::new(&[0, 0, 1, 1], &[0, 0, 0, 1]);
    assert_close(confusion.macro_f1(), (0.8 + 2.0 / 3.0) / 2.0);
    assert_close(confusion.accuracy(), 0.75);
    let perfect = Confusion::new(&[0, 4, 9], &[0, 4, 9]);
    assert_close(perfect.macro_f1(), 1.0);
    assert_close(perfect.accuracy(), 1.0);
}

#[test]
fn as_scikit_learn() {
    let labels: Vec<i64> = (0..60).map(|i| (i * i + 3 * i) % 7).collect();
    let guess = |i: i64| if i % 3 == 0 { (i * 5 + i / 4) % 9 } else { labels[i as usize] };
    let predictions: Vec<i64> = (0..60).map(guess).collect();
    let confusion = Confusion::new(&labels, &predictions);
    assert_close(confusion.macro_f1(), 0.503_275_156_216_332_7);
    assert_close(confusion.accuracy(), 0.683_333_333_333_333_3);
    // f1_score's own documentation.
    assert_close(Confusion::new(&[0, 1, 2, 0, 1, 2], &[0, 2, 1, 0, 0, 1]).macro_f1(), 4.0 / 15.0);
}

#[test]
fn a_class_never_predicted_counts_as_zero_and_an_absent_one_not_at_all() {
    // Class 0 has F1 2/3, class 1 none, class 3 one; class 2 is absent.
    assert_close(Confusion::new(&[0, 0, 1, 1, 3], &[0, 0, 0, 0, 3]).macro_f1(), 5.0 / 9.0);
    // Class 5 is predicted, but never right.
    assert_close(Confusion::new(&[0, 1], &[5, 1]).macro_f1(), 1.0 / 3.0);
}

#[test]
fn a_median_is_the_middle_or_the_lesser_of_two() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
    assert_eq!(median(vec![7.0]), 7.0);
}

#[test]
fn means_and_deviations() {
    let summary = Summary::new(vec![1.0, 2.0, 4.0]);
    assert_close(summary.mean, 7.0 / 3.0);
    assert_close(summary.std.unwrap(), (7.0f64 / 3.0).sqrt());
    assert_eq!(Summary::new(vec![3.0]).std, None);
    // Ten runs of 0.9 on 1000 items: only the items are uncertain.
    let two = Summary::new(vec![0.8, 1.0]);
    assert_close(two.standard_error().unwrap(), 0.1);
    assert_eq!(Summary::new(vec![0.9]).standard_error(), None);
}
