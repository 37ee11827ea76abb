//! Monte Carlo dropout: what it computes, from what, and which mistakes it reports.

mod common;

use std::cell::{Cell, RefCell};

use common::{assert_close, assert_same_bits, device, elements, float, nonzero};
use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{Error, MonteCarlo, Prediction, Stream, TrueDropout, monte_carlo};

/// On the device of the tests.
fn here<T: tch::kind::Element>(values: &[T]) -> Tensor {
    Tensor::from_slice(values).to_device(device())
}

/// A model that gives these probabilities, pass after pass.
fn passes_of<const N: usize>(passes: [&[f64]; N], classes: i64) -> Prediction {
    let next = Cell::new(0);
    let model = |x: &Tensor, _| {
        let logits = here(passes[next.replace(next.get() + 1)]).log();
        logits.reshape([x.size()[0], classes])
    };
    let rows = passes[0].len() as i64 / classes;
    let x = Tensor::ones([rows, 1], float());
    MonteCarlo::new(N as i64).unwrap().train(true).predict(model, &x).unwrap()
}

#[test]
fn entropies_are_those_computed_by_hand() {
    // In bits: a coin that is half sure, two passes that contradict each other, two that agree.
    let found = passes_of([&[0.9, 0.1, 1.0, 0.0, 0.3, 0.7], &[0.5, 0.5, 0.0, 1.0, 0.3, 0.7]], 2);
    let ln2 = std::f64::consts::LN_2;
    let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    let tensor = |values: &[f64]| here(values);
    assert_eq!(found.passes, 2);
    assert_close(&found.mean, &tensor(&[0.7, 0.3, 0.5, 0.5, 0.3, 0.7]).reshape([3, 2]), 1e-15);
    assert_close(&found.entropy, &tensor(&[0.6108643020548935, ln2, h(0.3)]), 1e-15);
    // 0.6108643020548935 - (0.3250829733914482 + 0.6931471805599453) / 2
    let information = tensor(&[0.10174922507919674, ln2, 0.0]);
    assert_close(&found.mutual_information, &information, 1e-15);
    let variance = tensor(&[0.04, 0.04, 0.25, 0.25, 0.0, 0.0]).reshape([3, 2]);
    assert_close(&found.variance, &variance, 1e-16);
    assert!(found.mutual_information.min().double_value(&[]) >= 0.0);
}

#[test]
fn huge_logits_are_neither_nan_nor_unsure() {
    let model = |x: &Tensor, _: bool| x.shallow_clone();
    for big in [1e4, 1e30, f64::INFINITY] {
        let x = here(&[0.0, -big]).reshape([1, 2]);
        let found = MonteCarlo::new(3).unwrap().train(true).predict(model, &x).unwrap();
        assert_eq!(found.mean, here(&[1.0, 0.0]).reshape([1, 2]));
        assert_eq!(found.entropy.double_value(&[0]), 0.0);
        assert_eq!(found.variance.abs().max().double_value(&[]), 0.0);
    }
}

/// Many passes over many rows, in batches and groups that don't come out even, against all the logits
/// at once.
#[test]
fn what_is_merged_is_what_all_passes_give_at_once() {
    const ROWS: i64 = 1000;
    let (x, layer) = (nonzero(&[ROWS, 10]) * 4.0, elements(0.5));
    for (fold, batch_size) in [(1, ROWS), (1, 300), (7, ROWS), (7, 300)] {
        let seen: RefCell<Vec<Tensor>> = RefCell::default();
        let model = |x: &Tensor, train| {
            let logits = layer.forward_t(x, train);
            seen.borrow_mut().push(logits.shallow_clone());
            logits
        };
        let run = MonteCarlo::new(100).unwrap().fold(fold).unwrap().batch_size(batch_size).unwrap();
        let found = run.predict(model, &x).unwrap();

        let mut seen = seen.into_inner();
        // The first pass by itself, and then the others; after the first batch, two copies of it.
        let forwards = 1 + 99usize.div_ceil(fold as usize);
        if fold > 1 {
            drop(seen.remove(forwards));
        }
        assert_eq!(seen.len(), forwards * (ROWS as usize).div_ceil(batch_size as usize));
        let batches = seen.chunks(forwards).map(|passes| {
            let logits = Tensor::cat(passes, 0);
            logits.reshape([100, logits.size()[0] / 100, 10])
        });
        let p = Tensor::cat(&batches.collect::<Vec<_>>(), 1).softmax(-1, Kind::Double);
        let mean = p.mean_dim([0i64].as_slice(), false, Kind::Double);
        let entropy = |p: &Tensor| -(p * p.log()).sum_dim_intlist(-1, false, Kind::Double);
        let within = entropy(&p).mean_dim([0i64].as_slice(), false, Kind::Double);
        assert_close(&found.mean, &mean, 1e-14);
        assert_close(&found.entropy, &entropy(&mean), 1e-14);
        assert_close(&found.mutual_information, &(entropy(&mean) - within), 1e-14);
        assert_close(&found.variance, &p.var_dim([0i64].as_slice(), false, false), 1e-14);
    }
}

/// The expectation over all sixteen masks of a linear model, and what 20,000 passes find: by
/// Hoeffding's inequality a mean of numbers in [0, 1] is further off once in ten million times.
#[test]
fn the_mean_approaches_the_exact_expectation() {
    const PASSES: i64 = 20_000;
    let (p, columns, classes) = (0.3, 4, 3);
    let x = here(&[1f32, 0.5, 2.0, 1.5, 0.3, 1.0, 0.8, 0.2]).reshape([2, columns]);
    let weight = here(&[2f32, -1.0, 0.0, -2.0, 3.0, 1.0, 1.0, -2.0, 2.0, 0.0, 1.0, -3.0]);
    let weight = weight.reshape([columns, classes]);
    let zeros = || Tensor::zeros([2, classes], (Kind::Double, device()));
    let (mut mean, mut square) = (zeros(), zeros());
    for bits in 0..1 << columns {
        let kept: Vec<f64> = (0..columns).map(|c| f64::from(bits >> c & 1)).collect();
        let chance: f64 = kept.iter().map(|k| if *k == 1.0 { 1.0 - p } else { p }).product();
        let masked = &x * here(&kept) / (1.0 - p);
        let out = masked.matmul(&weight.to_kind(Kind::Double)).softmax(-1, Kind::Double);
        mean += &out * chance;
        square += out.square() * chance;
    }
    let variance = square - mean.square();
    let bound = ((2.0 * 12.0 / 1e-7f64).ln() / (2.0 * PASSES as f64)).sqrt();
    let layer = TrueDropout::new(p).unwrap();
    let model = |x: &Tensor, train| layer.forward_t(x, train).matmul(&weight);
    for fold in [1, 100] {
        let run = MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap();
        let found = run.predict(model, &x).unwrap();
        assert_close(&found.mean, &mean, bound);
        assert_close(&found.variance, &variance, 3.0 * bound); // The mean square, and the mean's.
        assert!(variance.max().double_value(&[]) > 3.0 * bound, "a test that can fail");
    }
}

#[test]
fn any_kind_of_logits_and_of_input() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        let layer = elements(0.5);
        let x = nonzero(&[3, 4]).to_kind(kind);
        let found = monte_carlo(|x, train| layer.forward_t(x, train), &x, 50).unwrap();
        assert_eq!(found.mean.kind(), Kind::Double);
        assert_close(
            &found.mean.sum_dim_intlist(-1, false, None),
            &Tensor::ones([3], float()),
            1e-14,
        );
    }
    // Token numbers through an embedding.
    let vs = nn::VarStore::new(device());
    let (embedding, layer) = (nn::embedding(vs.root(), 10, 4, Default::default()), elements(0.5));
    let tokens = Tensor::randint(10, [5, 7], (Kind::Int64, device()));
    let model = |x: &Tensor, train| {
        let words = layer.forward_t(&embedding.forward(x), train);
        words.mean_dim([1i64].as_slice(), false, None)
    };
    for fold in [1, 4] {
        let found = MonteCarlo::new(10).unwrap().fold(fold).unwrap().predict(model, &tokens);
        assert_eq!(found.unwrap().mean.size(), [5, 4]);
    }
}

#[test]
fn a_seed_decides_and_takes_a_step_per_forward() {
    let x = nonzero(&[4, 6]);
    let run = |fold| {
        let layer = elements(0.5).with_seed(3);
        let run = MonteCarlo::new(10).unwrap().fold(fold).unwrap();
        let found = run.predict(|x, train| layer.forward_t(x, train), &x).unwrap();
        (found.mean, layer.stream().map(Stream::step))
    };
    for (fold, steps) in [(1, 10), (4, 1 + 3), (10, 1 + 1)] {
        let (mean, step) = run(fold);
        assert_same_bits(&mean, &run(fold).0);
        assert_eq!(step, Some(steps));
    }
}

#[test]
fn mistakes_are_told() {
    let x = nonzero(&[4, 6]);
    let layer = TrueDropout::new(0.5).unwrap();
    let model = |x: &Tensor, train| layer.forward_t(x, train);
    let text = |result: Result<Prediction, Error>| result.unwrap_err().to_string();
    let two = MonteCarlo::new(2).unwrap();
    assert_eq!(text(monte_carlo(model, &x, 0)), "passes must be at least 1, got 0");
    assert_eq!(two.fold(0).unwrap_err().to_string(), "fold must be at least 1, got 0");
    let error = two.fold(3).unwrap_err().to_string();
    assert_eq!(error, "fold must be at most 2, the number of passes, got 3");
    let error = two.batch_size(-1).unwrap_err().to_string();
    assert_eq!(error, "batch_size must be at least 1, got -1");
    for size in [&[][..], &[0, 6], &[4, 0]] {
        let expected = format!(
            "Monte Carlo dropout needs at least one row that is not empty, got shape {size:?}"
        );
        assert_eq!(text(monte_carlo(model, &Tensor::zeros(size, float()), 2)), expected);
    }
    let shapes: [(&dyn Fn(Tensor) -> Tensor, &str); 5] = [
        (&|y| y.narrow(1, 0, 1), "Float of shape [4, 1]"),
        (&|y| y.narrow(0, 0, 3), "Float of shape [3, 6]"),
        (&|y| y.sum_dim_intlist(1, false, None), "Float of shape [4]"),
        (&|y| y.sum(None), "Float of shape []"),
        (&|y| y.to_kind(Kind::Int64), "Int64 of shape [4, 6]"),
    ];
    for (wrong, got) in shapes {
        let expected =
            "the model must return floating-point logits of shape [4, K, ...] with K >= 2";
        let error = text(monte_carlo(|x, train| wrong(model(x, train)), &x, 2));
        assert_eq!(error, format!("{expected}, got {got} (for a regression, call regress)"));
    }
}
