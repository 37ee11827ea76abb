//! Monte Carlo dropout of classes: where they are in the output, logits or probabilities, and models that can fail.

mod common;

use std::cell::Cell;

use common::{assert_close, elements, nonzero};
use tch::{Kind, Tensor};
use tch_dropout::{Error, MonteCarlo, MonteCarloError, Prediction, f_monte_carlo};

fn of(prediction: &Prediction) -> [&Tensor; 4] {
    let Prediction { mean, entropy, mutual_information, variance, .. } = prediction;
    [mean, entropy, mutual_information, variance]
}

/// 20 passes over 12 rows of shape `[T, K]`, after which `make` makes the outputs.
fn predict(
    call: impl Fn(&MonteCarlo, &mut dyn FnMut(&Tensor, bool) -> Tensor, &Tensor) -> Prediction,
    monte_carlo: MonteCarlo,
    make: impl Fn(Tensor) -> Tensor,
) -> Prediction {
    let layer = elements(0.5).with_seed(7);
    let x = (Tensor::arange(12 * 5 * 3, common::float()) * 0.37).sin().reshape([12, 5, 3]);
    call(&monte_carlo, &mut |x, train| make(layer.f_forward_t(x, train).unwrap() * 3.0), &x)
}

fn logits(monte_carlo: MonteCarlo, make: impl Fn(Tensor) -> Tensor) -> Prediction {
    predict(|run, model, x| run.predict(model, x).unwrap(), monte_carlo, make)
}

#[test]
fn classes_are_found_in_the_dimension_that_is_named() {
    for (fold, batch_size) in [(1, 12), (4, 5)] {
        let new =
            || MonteCarlo::new(20).unwrap().fold(fold).unwrap().batch_size(batch_size).unwrap();
        let in_front = logits(new(), |y| y.transpose(1, 2)); // [N, K, T]
        for dim in [2, -1] {
            let behind = logits(new().class_dim(dim), |y| y);
            assert_eq!(behind.entropy.size(), [12, 5]);
            for (found, expected) in of(&behind).into_iter().zip(of(&in_front)) {
                let expected =
                    if expected.dim() == 3 { &expected.transpose(1, 2) } else { expected };
                assert_close(found, expected, 1e-12);
            }
        }
        assert_ne!(logits(new(), |y| y).entropy.size(), [12, 5]);
    }
}

#[test]
fn probabilities_take_no_other_softmax() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for (fold, batch_size) in [(1, 12), (4, 5)] {
            let new = || {
                let run = MonteCarlo::new(20).unwrap().fold(fold).unwrap();
                run.batch_size(batch_size).unwrap().class_dim(-1)
            };
            let expected = logits(new(), |y| y);
            let found = predict(
                |run, model, x| run.predict_probabilities(model, x).unwrap(),
                new(),
                |y| y.softmax(-1, None).to_kind(kind),
            );
            let tolerance = if kind == Kind::Float { 1e-6 } else { 2e-2 };
            for (found, expected) in of(&found).into_iter().zip(of(&expected)) {
                assert_close(found, expected, tolerance);
            }
        }
    }
}

#[test]
fn numbers_that_are_no_probabilities_are_an_error() {
    let (layer, x) = (elements(0.5), nonzero(&[4, 3]));
    let wrong: [(&dyn Fn(Tensor) -> Tensor, &str); 3] = [
        (&|y| y.softmax(1, None) * 1.1, "whose sums are up to 0.1"),
        (&|y| y.softmax(0, None) * 0.0 - 1.0, "numbers from -1 to -1"),
        (&|y| y.softmax(1, None) * 3.0 - 2.0 / 3.0, "numbers from -0.66"),
    ];
    for (wrong, text) in wrong {
        let model = |x: &Tensor, train| wrong(layer.f_forward_t(x, train).unwrap() * 9.0);
        let error = MonteCarlo::new(5).unwrap().predict_probabilities(model, &x).unwrap_err();
        assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Probabilities { dim: 1, .. })));
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_dimension_without_classes_is_an_error() {
    let (layer, x) = (elements(0.5), nonzero(&[4, 3, 1]));
    for dim in [0, 2, 3, -1, -3, -4] {
        let run = MonteCarlo::new(5).unwrap().class_dim(dim);
        for error in [
            run.f_predict(|x, train| layer.f_forward_t(x, train), &x).unwrap_err(),
            run.f_predict_probabilities(|x, train| layer.f_forward_t(x, train), &x).unwrap_err(),
        ] {
            let text = format!(
                "the model must return floating-point numbers of shape [4, ...] with at least 2 classes in dimension \
                 {dim}, got Float of shape [4, 3, 1]"
            );
            assert_eq!(error.to_string(), text);
        }
    }
    let run = MonteCarlo::new(5).unwrap().class_dim(-2);
    assert!(run.f_predict(|x, train| layer.f_forward_t(x, train), &x).is_ok());
}

/// In the first pass, in a later one, in folded ones, and in the call that checks whether they can be.
#[test]
fn an_error_of_the_model_is_returned() {
    let (layer, x) = (elements(0.5), nonzero(&[4, 3]));
    for (fold, calls) in [(1, 5), (2, 4)] {
        for fails_in in 0..calls {
            let call = Cell::new(0);
            let model = |x: &Tensor, train| {
                call.set(call.get() + 1);
                match call.get() > fails_in {
                    true => Err(Error::Probability(7.0)),
                    false => layer.f_forward_t(x, train),
                }
            };
            let run = MonteCarlo::new(5).unwrap().fold(fold).unwrap();
            assert!(matches!(run.f_predict(&model, &x), Err(Error::Probability(7.0))));
            call.set(0);
            assert!(matches!(run.f_regress(&model, &x), Err(Error::Probability(7.0))));
        }
        let call = Cell::new(0);
        let model = |x: &Tensor, train| {
            call.set(call.get() + 1);
            layer.f_forward_t(x, train)
        };
        MonteCarlo::new(5).unwrap().fold(fold).unwrap().f_predict(&model, &x).unwrap();
        assert_eq!(call.get(), calls);
    }
    assert!(f_monte_carlo(|_, _| Err(Error::Layers), &x, 3).is_err());
    assert_eq!(f_monte_carlo(|x, train| layer.f_forward_t(x, train), &x, 3).unwrap().passes, 3);
}
