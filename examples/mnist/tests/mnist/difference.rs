//! How certain a difference is, compared with SciPy's tests and with what chance does.

use mnist_experiment::difference::{Difference, in_words};
use mnist_experiment::metrics::Summary;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn interval(difference: Difference) -> [f64; 2] {
    [difference.mean - difference.margin, difference.mean + difference.margin]
}

#[track_caller]
fn assert_close(a: [f64; 2], b: [f64; 2]) {
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} is not {b:?}");
}

/// The intervals are those of `scipy.stats.ttest_ind(a, b, equal_var=False)` and `ttest_1samp(a, 0)`.
#[test]
fn as_scipy() {
    let a = Summary::new(vec![5.1, 4.7, 6.9]);
    let b = Summary::new(vec![4.0, 4.1, 4.6, 3.9, 4.4]);
    let difference = Difference::of(&a, &b).unwrap();
    assert_close(interval(difference), [-1.408588628930918, 4.141921962264252]);
    assert!(!difference.is_detected());
    let difference = Difference::of_pairs(&a).unwrap();
    assert_close(interval(difference), [2.6555229335683115, 8.477810399765023]);
    assert!(difference.is_detected());
}

#[test]
fn two_runs_are_too_few_to_tell() {
    let two = Summary::new(vec![0.9, 0.9001]);
    let many = Summary::new(vec![0.1, 0.1001, 0.1002]);
    assert!(Difference::of(&two, &many).is_none() && Difference::of(&many, &two).is_none());
    assert!(Difference::of_pairs(&two).is_none());
    assert_eq!(
        in_words(Difference::of(&two, &many), 2),
        "unknown, as it takes 3 runs or more to tell"
    );
}

#[test]
fn runs_that_all_agree_have_an_interval_of_no_width() {
    let runs = |run| Summary::new(vec![run; 3]);
    let difference = |a, b| Difference::of(&runs(a), &runs(b)).unwrap();
    assert!(!difference(0.5, 0.5).is_detected());
    assert!(difference(0.75, 0.5).is_detected());
    assert_eq!(in_words(Some(difference(0.25, 0.5)), 1), "−0.2 (95 % interval −0.2 to −0.2)");
}

/// Normal numbers, by Box and Muller.
fn runs(count: usize, deviation: f64, random: &mut StdRng) -> Summary {
    let normal = |_| {
        let (u, v): (f64, f64) = (1.0 - random.r#gen::<f64>(), random.r#gen());
        deviation * (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    };
    Summary::new((0..count).map(normal).collect())
}

/// How often in a hundred a difference is detected where there is none.
fn false_alarms(count: usize, deviations: (f64, f64)) -> f64 {
    const TRIALS: usize = 40_000;
    let mut random = StdRng::seed_from_u64(1);
    let detected = (0..TRIALS).filter(|_| {
        let a = runs(count, deviations.0, &mut random);
        let b = runs(count, deviations.1, &mut random);
        Difference::of(&a, &b).unwrap().is_detected()
    });
    100.0 * detected.count() as f64 / TRIALS as f64
}

/// Five in a hundred is what an interval of 95 % promises; Welch's is cautious for few runs. The standard error of
/// 40,000 trials is 0.11. Two standard errors as the margin would give 11.6 for three runs and 8.1 for five.
#[test]
fn the_false_alarm_rate_is_the_nominal_one() {
    for (count, deviations) in
        [(3, (1.0, 1.0)), (5, (1.0, 1.0)), (5, (1.0, 3.0)), (10, (1.0, 1.0)), (10, (1.0, 3.0))]
    {
        let rate = false_alarms(count, deviations);
        assert!((3.0..5.6).contains(&rate), "{count} runs, {deviations:?}: {rate} %");
    }
}

/// Pairs of runs have one deviation, and Student's test is exact.
#[test]
fn so_it_is_for_pairs() {
    let mut random = StdRng::seed_from_u64(2);
    let detected = (0..40_000)
        .filter(|_| Difference::of_pairs(&runs(3, 1.0, &mut random)).unwrap().is_detected());
    let rate = detected.count() as f64 / 400.0;
    assert!((4.5..5.5).contains(&rate), "{rate} %");
}
