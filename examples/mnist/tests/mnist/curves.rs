//! The numbers in the MNIST example's plot, compared with values computed by hand.

use mnist_experiment::curves::{across, moving_average};

#[test]
fn a_moving_average_ends_at_its_step() {
    let values = [1.0, 3.0, 5.0, 10.0];
    assert_eq!(moving_average(&values, 1, 9), [(1.0, 1.0), (2.0, 3.0), (3.0, 5.0), (4.0, 10.0)]);
    assert_eq!(moving_average(&values, 2, 9), [(2.0, 2.0), (3.0, 4.0), (4.0, 7.5)]);
    assert_eq!(moving_average(&values, 4, 9), [(4.0, 4.75)]);
    assert_eq!(moving_average(&values, 5, 9), []);
    assert_eq!(moving_average(&[], 1, 9), []);
}

#[test]
fn a_long_one_is_thinned_out() {
    let values: Vec<f64> = (1..=1000).map(f64::from).collect();
    let points = moving_average(&values, 3, 200);
    assert_eq!(points[..2], [(3.0, 2.0), (8.0, 7.0)]);
    assert_eq!(points.len(), 200);
    assert_eq!(moving_average(&values, 1, 400).len(), 334);
}

#[test]
fn runs_are_brought_together_place_by_place() {
    let runs = [vec![1.0, 5.0], vec![3.0, 5.0]];
    let both = across(runs.iter());
    assert_eq!([both[0].mean, both[1].mean], [2.0, 5.0]);
    assert_eq!([both[0].std, both[1].std], [Some(2f64.sqrt()), Some(0.0)]);
    assert!(across([].iter()).is_empty());
}
