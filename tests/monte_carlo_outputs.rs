//! Monte Carlo dropout over other outputs than a class per row: values, and a class per pixel.

mod common;

use std::cell::RefCell;

use common::{assert_close, assert_same_bits, device, elements, float, nonzero};
use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{Error, MonteCarlo, MonteCarloError, TrueDropout, monte_carlo};

/// Mean and variance of `[passes, ...]`.
fn moments(passes: &Tensor) -> (Tensor, Tensor) {
    let passes = passes.to_kind(Kind::Double);
    let mean = passes.mean_dim([0i64].as_slice(), false, None);
    (mean, passes.var_dim([0i64].as_slice(), false, false))
}

#[test]
fn a_regression_has_the_mean_and_variance_of_the_outputs() {
    let (layer, x) = (elements(0.5), nonzero(&[30, 4]));
    let sum = |x: &Tensor| x.sum_dim_intlist(1, true, None);
    // A value per row as a column, a value per row, and more of them.
    type Model<'a> = &'a dyn Fn(&Tensor) -> Tensor;
    let outputs: [(Model, &[i64]); 3] = [
        (&|x| sum(x), &[30, 1]),
        (&|x| sum(x).squeeze_dim(1), &[30]),
        (&|x| x.reshape([-1, 2, 2]), &[30, 2, 2]),
    ];
    for (output, size) in outputs {
        for (fold, batch_size) in [(1, 30), (1, 7), (4, 30), (4, 7)] {
            let seen: RefCell<Vec<Tensor>> = RefCell::default();
            let model = |x: &Tensor, train| {
                let y = output(&layer.forward_t(x, train));
                seen.borrow_mut().push(y.shallow_clone());
                y
            };
            let run = MonteCarlo::new(20).unwrap().fold(fold).unwrap();
            let found = run.batch_size(batch_size).unwrap().regress(model, &x).unwrap();
            let mut seen = seen.into_inner();
            if fold > 1 {
                // Two copies of the first batch, of which nothing was dropped.
                drop(seen.remove(1 + 5));
            }
            let batches = seen.chunks(if fold == 1 { 20 } else { 1 + 5 }).map(|passes| {
                let outputs = Tensor::cat(passes, 0);
                let rows = outputs.size()[0] / 20;
                outputs.reshape([&[20, rows], &size[1..]].concat())
            });
            let passes = Tensor::cat(&batches.collect::<Vec<_>>(), 1);
            let (mean, variance) = moments(&passes);
            assert_eq!((found.passes, found.mean.size()), (20, size.to_vec()));
            assert_close(&found.mean, &mean, 1e-14);
            assert_close(&found.variance, &variance, 1e-14);
        }
    }
}

#[test]
fn values_of_every_floating_point_kind_and_of_no_other() {
    let layer = TrueDropout::new(0.5).unwrap();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        let x = nonzero(&[3, 4]).to_kind(kind);
        let found = MonteCarlo::new(5).unwrap().regress(|x, train| layer.forward_t(x, train), &x);
        let found = found.unwrap();
        assert_eq!((found.mean.kind(), found.variance.kind()), (Kind::Double, Kind::Double));
    }
    let wrong: [(&dyn Fn(Tensor) -> Tensor, &str); 3] = [
        (&|y| y.narrow(0, 0, 2), "Float of shape [2, 4]"),
        (&|y| y.sum(None), "Float of shape []"),
        (&|y| y.to_kind(Kind::Int64), "Int64 of shape [3, 4]"),
    ];
    for (wrong, got) in wrong {
        let model = |x: &Tensor, train| wrong(layer.forward_t(x, train));
        let error = MonteCarlo::new(5).unwrap().regress(model, &nonzero(&[3, 4])).unwrap_err();
        assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Values { rows: 3, .. })));
        let expected = "the model must return floating-point values of shape [3, ...]";
        assert_eq!(error.to_string(), format!("{expected}, got {got}"));
    }
}

/// The variance of a linear model is known: of each column's product, p / (1 - p) of its square.
#[test]
fn a_regressions_variance_is_the_models() {
    const PASSES: i64 = 20_000;
    let (p, layer) = (0.2, elements(0.2));
    let x = nonzero(&[8, 5]);
    let weight = Tensor::from_slice(&[1f32, -2.0, 0.5, 1.5, -1.0]).to_device(device());
    let products = (&x * &weight).to_kind(Kind::Double);
    let variance = products.square().sum_dim_intlist(1, false, None) * (p / (1.0 - p));
    for fold in [1, 50] {
        let run = MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap();
        let model = |x: &Tensor, train| layer.forward_t(x, train).mv(&weight);
        let found = run.regress(model, &x).unwrap();
        let mean = products.sum_dim_intlist(1, false, None);
        let deviation = (&variance / PASSES as f64).sqrt();
        let apart = ((&found.mean - mean) / deviation).abs().max().double_value(&[]);
        assert!(apart < 6.0, "the mean is {apart} standard deviations off");
        // A kurtosis of 6 or less: the sample variance is within 10 % by more than six standard deviations.
        let ratio = &found.variance / &variance;
        assert!(ratio.allclose(&ratio.ones_like(), 0.0, 0.1, false), "{ratio}");
    }
}

/// A model over channels alone: each pixel is a row of its own.
#[test]
fn a_class_per_pixel_is_a_row_per_pixel() {
    let (rows, classes, height, width) = (3, 4, 5, 2);
    let x = nonzero(&[rows, classes, height, width]) * 3.0;
    // [N, K, H, W] to [N H W, K].
    let pixels = |y: &Tensor| y.permute([0, 2, 3, 1]).reshape([-1, classes]);
    let layer = || elements(0.5).with_seed(1);
    for (fold, batch_size) in [(1, rows), (1, 2), (5, rows), (5, 2)] {
        let run = MonteCarlo::new(11).unwrap().fold(fold).unwrap();
        // The logits of each pass, batch after batch, for the second run to see again as rows.
        let seen: RefCell<Vec<Tensor>> = RefCell::default();
        let drop = layer();
        let model = |x: &Tensor, train| {
            let y = drop.forward_t(x, train);
            seen.borrow_mut().push(pixels(&y));
            y
        };
        let images = run.batch_size(batch_size).unwrap().predict(model, &x).unwrap();
        let mut seen = seen.into_inner().into_iter();
        let run = run.batch_size(batch_size * height * width).unwrap().train(true);
        let as_rows = run.predict(|_, _| seen.next().unwrap(), &pixels(&x)).unwrap();
        assert!(seen.next().is_none());

        assert_eq!(images.mean.size(), x.size());
        assert_eq!(images.entropy.size(), [rows, height, width]);
        assert_close(&pixels(&images.mean), &as_rows.mean, 1e-15);
        assert_close(&pixels(&images.variance), &as_rows.variance, 1e-15);
        assert_close(&images.entropy.flatten(0, -1), &as_rows.entropy, 1e-14);
        let information = images.mutual_information.flatten(0, -1);
        assert_close(&information, &as_rows.mutual_information, 1e-14);
        assert!(information.min().double_value(&[]) > 1e-6);
    }
}

#[test]
fn a_convolutional_model_of_pixels() {
    let vs = nn::VarStore::new(device());
    let conv = |name: &str, channels, out| {
        let config = nn::ConvConfig { padding: 1, ..Default::default() };
        nn::conv2d(vs.root() / name, channels, out, 3, config)
    };
    let (hidden, output) = (conv("hidden", 2, 8), conv("output", 8, 3));
    let layer = TrueDropout::channels(0.5).unwrap();
    let model =
        |x: &Tensor, train| output.forward(&layer.forward_t(&hidden.forward(x).relu(), train));
    let x = nonzero(&[4, 2, 6, 6]);
    let found = MonteCarlo::new(20).unwrap().fold(7).unwrap().predict(model, &x).unwrap();
    assert_eq!(found.mean.size(), [4, 3, 6, 6]);
    let sums = found.mean.sum_dim_intlist(1, false, None);
    assert_close(&sums, &sums.ones_like(), 1e-14);
    assert!(found.variance.min().double_value(&[]) > 0.0);
}

#[test]
fn a_model_may_change_what_it_captures() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 3]);
    let mut calls = 0;
    let model = |x: &Tensor, train| {
        calls += 1;
        layer.forward_t(x, train)
    };
    monte_carlo(model, &x, 9).unwrap();
    assert_eq!(calls, 9);
    let mut flags = Vec::new();
    let model = |x: &Tensor, train| {
        flags.push(train);
        layer.forward_t(x, train)
    };
    MonteCarlo::new(3).unwrap().regress(model, &x).unwrap();
    assert_eq!(flags, [false; 3]);
}

#[test]
fn a_clone_is_the_same_prediction() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 3]);
    let model = |x: &Tensor, train| layer.forward_t(x, train);
    let found = monte_carlo(model, &x, 10).unwrap();
    let clone = found.clone();
    assert_eq!(clone.passes, 10);
    for (cloned, field) in [
        (&clone.mean, &found.mean),
        (&clone.entropy, &found.entropy),
        (&clone.mutual_information, &found.mutual_information),
        (&clone.variance, &found.variance),
    ] {
        assert_same_bits(cloned, field);
        assert_eq!(cloned.data_ptr(), field.data_ptr());
    }
    let found = MonteCarlo::new(10).unwrap().regress(model, &x).unwrap();
    let clone = found.clone();
    assert_eq!(clone.passes, 10);
    assert_same_bits(&clone.mean, &found.mean);
    assert_same_bits(&clone.variance, &found.variance);
    assert_ne!(found.mean, Tensor::zeros([4, 3], float()));
}
