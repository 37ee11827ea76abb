//! Monte Carlo dropout: what it switches on, what it leaves alone, and what it leaves behind.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{assert_same_bits, device, elements, nonzero};
use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{Error, MonteCarlo, MonteCarloError, Prediction, TrueDropout, monte_carlo};

#[test]
fn batch_norm_stays_in_evaluation() {
    let vs = nn::VarStore::new(device());
    let model = nn::seq_t()
        .add(nn::linear(vs.root() / "hidden", 6, 32, Default::default()))
        .add(nn::batch_norm1d(vs.root() / "norm", 32, Default::default()))
        .add(elements(0.5))
        .add(nn::linear(vs.root() / "output", 32, 3, Default::default()));
    let x = nonzero(&[20, 6]);
    let _ = model.forward_t(&x, true); // Statistics that are not the ones of the start.
    let statistics = || {
        let variables = vs.variables();
        let of = |name: &str| variables[name].copy();
        [of("norm.running_mean"), of("norm.running_var")]
    };
    let before = statistics();
    let evaluated = model.forward_t(&x, false);
    let found = monte_carlo(|x, train| model.forward_t(x, train), &x, 200).unwrap();
    assert!(found.variance.min().double_value(&[]) > 0.0);
    for (now, before) in statistics().iter().zip(&before) {
        assert_same_bits(now, before);
    }
    assert_same_bits(&model.forward_t(&x, false), &evaluated);

    // With the flag they move, as the documentation warns.
    let run = MonteCarlo::new(1).unwrap().train(true);
    run.predict(|x, train| model.forward_t(x, train), &x).unwrap();
    assert_ne!(statistics()[0], before[0]);
}

#[test]
fn train_is_passed_on_and_reaches_libtorchs_dropout() {
    let x = nonzero(&[5, 4]);
    for train in [false, true] {
        let layer = elements(0.5);
        let model = |x: &Tensor, flag| {
            assert_eq!(flag, train);
            layer.forward_t(x, flag)
        };
        MonteCarlo::new(2).unwrap().train(train).predict(model, &x).unwrap();
    }
    let libtorch = |x: &Tensor, train| x.dropout(0.5, train);
    let run = MonteCarlo::new(100).unwrap().train(true);
    assert!(run.predict(libtorch, &x).unwrap().variance.min().double_value(&[]) > 0.0);
    assert!(matches!(
        monte_carlo(libtorch, &x, 100),
        Err(Error::MonteCarlo(MonteCarloError::NothingDrawn))
    ));
}

#[test]
fn a_model_without_dropout_is_not_called_certain() {
    let x = nonzero(&[5, 4]);
    let silent = TrueDropout::new(0.0).unwrap();
    let error = monte_carlo(|x, train| silent.forward_t(x, train), &x, 10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no dropout layer drew a mask, so all passes would be the same: the model has no layer with \
         p > 0, its layers ran on another thread, or it uses libtorch's dropout, which \
         `.train(true)` turns on"
    );
    assert!(matches!(
        monte_carlo(|x, _| x * 2.0, &x, 10),
        Err(Error::MonteCarlo(MonteCarloError::NothingDrawn))
    ));
    // p = 1 draws: its answer is sure, and right.
    let all = TrueDropout::new(1.0).unwrap();
    let found = monte_carlo(|x, train| all.forward_t(x, train), &x, 10).unwrap();
    assert_eq!(found.mean, Tensor::full([5, 4], 0.25, (Kind::Double, device())));
    assert_eq!(found.variance.max().double_value(&[]), 0.0);
}

#[test]
fn no_gradient_is_recorded_and_recording_goes_on_afterwards() {
    let vs = nn::VarStore::new(device());
    let linear = nn::linear(vs.root(), 6, 3, Default::default());
    let layer = elements(0.5);
    let x = nonzero(&[4, 6]).set_requires_grad(true);
    for fold in [1, 5] {
        let model = |x: &Tensor, train| {
            let y = linear.forward(&layer.forward_t(x, train));
            assert!(!y.requires_grad());
            y
        };
        let run = MonteCarlo::new(5).unwrap().fold(fold).unwrap();
        let Prediction { mean, entropy, mutual_information, variance, .. } =
            run.predict(model, &x).unwrap();
        for field in [mean, entropy, mutual_information, variance] {
            assert!(!field.requires_grad());
            assert_eq!(field.kind(), Kind::Double);
        }
        assert!(linear.forward(&x).requires_grad());
    }
}

#[test]
fn a_panic_in_the_model_leaves_nothing_switched() {
    let layer = TrueDropout::new(0.5).unwrap();
    let x = nonzero(&[4, 6]).set_requires_grad(true);
    let run = MonteCarlo::new(8).unwrap().fold(4).unwrap();
    let dropped = std::cell::Cell::new(false);
    let model = |x: &Tensor, train| -> Tensor {
        dropped.set(layer.forward_t(x, train) != x.shallow_clone());
        panic!("a model's own");
    };
    let panic = catch_unwind(AssertUnwindSafe(|| run.predict(model, &x))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"a model's own"));
    assert!(dropped.get());
    assert_same_bits(&layer.forward_t(&x, false), &x);
    assert_eq!(layer.draw_mask(&x, true).unwrap().size(), [1, 6]);
    assert!((&x * 2.0).requires_grad());
}

#[test]
fn other_threads_stay_in_evaluation() {
    let layer = TrueDropout::new(0.5).unwrap();
    let model = |x: &Tensor, train| {
        std::thread::scope(|scope| {
            let evaluated = || {
                let x = nonzero(&[4, 6]);
                assert_same_bits(&layer.forward_t(&x, false), &x);
            };
            scope.spawn(evaluated).join().unwrap();
        });
        layer.forward_t(x, train)
    };
    monte_carlo(model, &nonzero(&[4, 6]), 3).unwrap();
}

#[test]
fn one_within_another_leaves_the_outer_as_it_was() {
    let (outer, inner) = (elements(0.5), elements(0.5));
    let x = nonzero(&[4, 50]);
    let model = |x: &Tensor, train| {
        let run = MonteCarlo::new(6).unwrap().fold(3).unwrap();
        let found = run.predict(|x, train| inner.forward_t(x, train), x).unwrap();
        assert_ne!(outer.forward_t(x, train), x.shallow_clone(), "still draws");
        found.mean
    };
    let found = monte_carlo(model, &x, 3).unwrap();
    assert!(found.variance.min().double_value(&[]) > 0.0);
    assert_same_bits(&outer.forward_t(&x, false), &x);

    // The first pass is by itself; the others are folded.
    let nested = |x: &Tensor, train| {
        let _ = outer.forward_t(x, train);
        match monte_carlo(|x, train| inner.forward_t(x, train), x, 3) {
            Ok(_) => assert_eq!(x.size(), [4, 50]),
            Err(error) => {
                assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Nested)));
                assert_eq!(x.size(), [8, 50]);
            }
        }
        x.shallow_clone()
    };
    let error = MonteCarlo::new(3).unwrap().fold(2).unwrap().predict(nested, &x).unwrap_err();
    assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Nested)));
}

#[test]
fn a_draw_in_an_inner_run_counts_for_the_outer_one() {
    let layer = TrueDropout::new(0.5).unwrap();
    let inner = |x: &Tensor| {
        let run = MonteCarlo::new(2).unwrap();
        run.predict(|x, train| layer.forward_t(x, train), x).unwrap().mean
    };
    let outer = MonteCarlo::new(2).unwrap().predict(|x, _| inner(x), &nonzero(&[4, 6]));
    assert_eq!(outer.unwrap().mean.size(), [4, 6]);
}
