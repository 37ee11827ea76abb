//! Monte Carlo dropout: every pass is counted once, however the passes are folded.

mod common;

use std::cell::RefCell;

use common::{assert_close, elements, float, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::MonteCarlo;

/// The passes of each forward: the first by itself, then `fold` at a time, then what is left.
fn forwards(passes: i64, fold: i64) -> Vec<i64> {
    let mut forwards = vec![1];
    let mut left = passes - 1;
    while left > 0 {
        forwards.push(left.min(fold));
        left -= left.min(fold);
    }
    forwards
}

#[test]
fn each_batch_has_all_its_passes() {
    let cases = [(1, 1), (2, 1), (2, 2), (3, 2), (5, 4), (8, 4), (9, 4), (10, 4), (12, 4), (7, 7)];
    for (passes, fold) in cases {
        for (rows, batch_size) in [(6, 6), (6, 100), (6, 4), (7, 3), (6, 1)] {
            let layer = elements(0.5);
            let mut seen = Vec::new();
            let model = |x: &Tensor, train| {
                seen.push(x.size()[0]);
                layer.forward_t(x, train)
            };
            let run = MonteCarlo::new(passes).unwrap().fold(fold).unwrap();
            let run = run.batch_size(batch_size).unwrap();
            let found = run.regress(model, &nonzero(&[rows, 3])).unwrap();
            let (whole, rest) = (rows / batch_size, rows % batch_size);
            let batches = (0..whole).map(|_| batch_size).chain((rest > 0).then_some(rest));
            let mut expected: Vec<i64> = batches
                .flat_map(|rows| forwards(passes, fold).into_iter().map(move |n| n * rows))
                .collect();
            // After the first batch, two copies of it show whether the passes stay side by side.
            if fold.min(passes - 1) > 1 {
                expected.insert(forwards(passes, fold).len(), 2 * batch_size.min(rows));
            }
            assert_eq!(seen, expected, "{passes} passes, fold {fold}, batches of {batch_size}");
            assert_eq!((found.passes, found.mean.size()), (passes, vec![rows, 3]));
        }
    }
}

/// Whether nothing is dropped, of an input without zeros. Then two copies of a row must have the same output.
fn is_rehearsal(x: &Tensor) -> bool {
    elements(1.0).forward_t(x, false) == *x
}

/// A model whose k-th pass gives 2ᵏ: a pass that is lost, or counted twice, changes mean and variance.
#[test]
fn no_pass_is_lost() {
    for passes in 1..=17 {
        for fold in 1..=passes {
            let given = RefCell::new(0);
            let model = |x: &Tensor, _| {
                if is_rehearsal(x) {
                    return Tensor::ones([6], float());
                }
                let first = *given.borrow();
                let passes = x.size()[0] / 3;
                *given.borrow_mut() += passes;
                let values = (first..first + passes).map(|pass| 2f64.powi(pass as i32));
                Tensor::from_slice(&values.collect::<Vec<_>>())
                    .repeat_interleave_self_int(3, 0, None)
            };
            let run = MonteCarlo::new(passes).unwrap().fold(fold).unwrap();
            let found = run.regress(model, &Tensor::ones([3, 2], float())).unwrap();
            let n = passes as f64;
            let mean = (2f64.powi(passes as i32) - 1.0) / n;
            let squares = (4f64.powi(passes as i32) - 1.0) / 3.0 / n;
            let all = |value| Tensor::full([3], value, (Kind::Double, found.mean.device()));
            assert_eq!(given.into_inner(), passes);
            assert_close(&(&found.mean / mean), &all(1.0), 1e-12);
            assert_close(&(&found.variance / squares), &all(1.0 - mean * mean / squares), 1e-12);
        }
    }
}

/// Where outputs are too many to be gathered, moments are merged on the way.
#[test]
fn large_outputs_lose_no_pass_either() {
    for (passes, fold) in [(3, 1), (5, 4), (6, 2)] {
        let given = RefCell::new(0);
        let model = |x: &Tensor, _| {
            if is_rehearsal(x) {
                return x.shallow_clone();
            }
            let passes = x.size()[0] / 400;
            let first = *given.borrow();
            *given.borrow_mut() += passes;
            let numbers = Tensor::arange_start(first, first + passes, (Kind::Double, x.device()));
            numbers.repeat_interleave_self_int(400, 0, None).unsqueeze(1).expand_as(x)
        };
        let run = MonteCarlo::new(passes).unwrap().fold(fold).unwrap();
        let found = run.regress(model, &Tensor::ones([400, 400], float())).unwrap();
        let n = passes as f64;
        assert_close(&found.mean, &found.mean.full_like((n - 1.0) / 2.0), 1e-12);
        let variance = (n * n - 1.0) / 12.0;
        assert_close(&found.variance, &found.variance.full_like(variance), 1e-12);
    }
}

/// Equal passes have no mutual information, and rounding gives a little more or less than none.
#[test]
fn mutual_information_is_never_negative() {
    let logits = Tensor::randn([2_000, 5], (Kind::Double, common::device())) * 3.0;
    const PASSES: i64 = 3;
    let p = logits.softmax(1, Kind::Double);
    let entropy = |p: &Tensor| p.special_entr().sum_dim_intlist(1, false, None);
    let mean = Tensor::stack(&[&p, &p, &p], 0).mean_dim([0i64].as_slice(), false, None);
    let unclamped = entropy(&mean) - entropy(&p);
    assert!(unclamped.min().double_value(&[]) < 0.0, "rounding below 0, which must be cut off");
    let run = MonteCarlo::new(PASSES).unwrap().train(true);
    let found = run.predict(|_, _| logits.shallow_clone(), &logits).unwrap();
    assert!(found.mutual_information.min().double_value(&[]) >= 0.0);
    assert!(found.mutual_information.max().double_value(&[]) < 1e-14);
}
