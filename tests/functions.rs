//! `dropout` and `feature_dropout`, in place of tch's: what the layers do, in one call.

mod common;

use std::panic::AssertUnwindSafe;

use common::{
    alone, assert_binomial, assert_close, assert_same_bits, count_kept, device, float, gradient,
    nonzero, panic_text,
};
use tch::nn::{self, ModuleT};
use tch::{Kind, TchError, Tensor};
use tch_dropout::{
    Error, MonteCarlo, TrueDropout, drop_connect, dropout, f_dropout, f_feature_dropout,
    feature_dropout, monte_carlo,
};

type Function = fn(&Tensor, f64, bool) -> Tensor;
type Fallible = fn(&Tensor, f64, bool) -> Result<Tensor, Error>;

/// The function, the one that returns its errors, tch's, and the layer that does the same.
type Four = (Function, Fallible, Function, fn(f64) -> Result<TrueDropout, Error>);

const FUNCTIONS: [Four; 2] = [
    (dropout, f_dropout, Tensor::dropout, TrueDropout::elements),
    (feature_dropout, f_feature_dropout, Tensor::feature_dropout, TrueDropout::channels),
];

#[test]
fn manual_seed_makes_them_the_layers() {
    let _alone = alone();
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        let x = nonzero(&[30, 20, 4]).to_kind(kind);
        for (function, fallible, _, layer) in FUNCTIONS {
            for p in [0.0, 0.3, 1.0] {
                let layer = layer(p).unwrap();
                let seeded = |forward: &dyn Fn() -> Tensor| {
                    tch::manual_seed(3);
                    [forward(), forward()]
                };
                let expected = seeded(&|| layer.forward_t(&x, true));
                let called = seeded(&|| function(&x, p, true));
                let tried = seeded(&|| fallible(&x, p, true).unwrap());
                for i in 0..2 {
                    assert_same_bits(&called[i], &expected[i]);
                    assert_same_bits(&tried[i], &expected[i]);
                }
                assert_eq!(p == 0.3, called[0] != called[1]);
            }
        }
    }
}

#[test]
fn in_evaluation_they_return_the_input() {
    let _alone = alone();
    let x = nonzero(&[3, 4]);
    for (function, fallible, ..) in FUNCTIONS {
        for (p, train) in [(0.5, false), (0.0, true)] {
            for y in [function(&x, p, train), fallible(&x, p, train).unwrap()] {
                assert_eq!(y.data_ptr(), x.data_ptr());
                assert_same_bits(&y, &x);
            }
        }
    }
}

/// As tch's do, whatever it is. (Of tensors that are not strided, tests/not_strided.rs has more.)
#[test]
fn in_evaluation_any_tensor_comes_back_as_it_is() {
    let _alone = alone();
    let x = nonzero(&[3, 4]);
    for x in [
        x.quantize_per_tensor(0.1, 0, Kind::QUInt8),
        (&x * 10.0).to_kind(Kind::Int64),
        x.gt(0.0),
        x.to_kind(Kind::ComplexFloat),
        x.get(0),
        Tensor::from(1.0),
        Tensor::zeros([0, 3], float()),
    ] {
        for (function, fallible, tchs, _) in FUNCTIONS {
            for y in
                [function(&x, 0.5, false), fallible(&x, 0.5, false).unwrap(), tchs(&x, 0.5, false)]
            {
                assert_eq!((y.kind(), y.size()), (x.kind(), x.size()));
                assert_eq!(y.data_ptr(), x.data_ptr());
            }
        }
    }
}

#[test]
fn rate_scale_and_gradient_are_tchs() {
    let _alone = alone();
    for (function, _, tchs, _) in FUNCTIONS {
        for p in [0.1, 0.5, 0.9] {
            for forward in [function, tchs] {
                let x = nonzero(&[500, 400, 2]).set_requires_grad(true);
                let y = forward(&x, p, true);
                let mask = y.detach().ne(0).to_kind(Kind::Float);
                let expected = mask.copy() * (1.0 / (1.0 - p));
                assert_close(&(&y / &x).detach(), &expected, 1e-4);
                assert_close(&gradient(&y.sum(Kind::Float), &x), &expected, 1e-5);
                // Of a group that shares a draw, one is enough.
                let draws = mask.narrow(2, 0, 1);
                assert_binomial(count_kept(&draws), 200_000.0, 1.0 - p);
            }
        }
    }
}

/// The last dimension is part of a channel, and has draws of its own where elements do.
#[test]
fn channels_are_dropped_as_a_whole_and_elements_are_not() {
    let _alone = alone();
    let x = nonzero(&[500, 400, 2]);
    for (forward, equal) in [
        (dropout as Function, 0.5),
        (Tensor::dropout, 0.5),
        (feature_dropout, 1.0),
        (Tensor::feature_dropout, 1.0),
    ] {
        let kept_elements = forward(&x, 0.5, true).ne(0);
        let same = kept_elements.select(2, 0).eq_tensor(&kept_elements.select(2, 1));
        assert_binomial(count_kept(&same), 200_000.0, equal);
    }
}

#[test]
fn they_draw_under_monte_carlo() {
    let _alone = alone();
    let x = nonzero(&[4, 6, 3]);
    for (function, fallible, ..) in FUNCTIONS {
        let called = |x: &Tensor, train: bool| {
            assert!(!train);
            function(x, 0.5, train).sum_dim_intlist(2, false, None)
        };
        let tried =
            |x: &Tensor, train| fallible(x, 0.5, train).unwrap().sum_dim_intlist(2, false, None);
        for fold in [1, 7] {
            let run = MonteCarlo::new(100).unwrap().fold(fold).unwrap();
            for found in [run.predict(called, &x), run.predict(tried, &x)] {
                assert!(found.unwrap().variance.min().double_value(&[]) > 0.0);
            }
        }
        assert!(monte_carlo(|x, train| function(x, 0.0, train), &x, 3).is_err());
    }
}

#[test]
fn errors_are_returned_by_one_and_a_panic_in_the_other() {
    let _alone = alone();
    let quantized = nonzero(&[2, 3]).quantize_per_tensor(0.1, 0, Kind::QUInt8);
    let cases: [(Tensor, f64, bool, &str); 4] = [
        (nonzero(&[2, 3]), 1.5, true, "p must be a probability in [0, 1], got 1.5"),
        (nonzero(&[2, 3]), -0.5, false, "p must be a probability in [0, 1], got -0.5"),
        (nonzero(&[2, 3]), f64::NAN, false, "p must be a probability in [0, 1], got NaN"),
        (quantized, 0.5, true, "dropout is not defined for tensors of kind QUInt8"),
    ];
    for (function, fallible, ..) in FUNCTIONS {
        for (x, p, train, text) in &cases {
            assert_eq!(fallible(x, *p, *train).unwrap_err().to_string(), *text);
            let (x, p, train) = (x.shallow_clone(), *p, *train);
            assert_eq!(panic_text(move || drop(function(&x, p, train))), *text);
        }
    }
    let text = "noise shape `channels` needs an input with at least 2 dimensions, got shape [3]";
    let error = f_feature_dropout(&nonzero(&[3]), 0.5, true).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert!(f_dropout(&Tensor::ones([], float()), 0.5, true).is_ok());
}

#[test]
fn errors_become_those_of_tch() {
    let _alone = alone();
    let f = |x: &Tensor, p| -> Result<Tensor, TchError> { Ok(f_dropout(x, p, true)?) };
    let x = nonzero(&[2, 3]);
    assert!(f(&x, 0.5).is_ok());
    let error = f(&x, 1.5).unwrap_err();
    assert!(
        matches!(&error, TchError::Torch(text) if text == "p must be a probability in [0, 1], got 1.5")
    );
    // libtorch's own errors come back as they were.
    let shape = TchError::Shape("[2]".to_owned());
    assert!(matches!(TchError::from(Error::Torch(shape)), TchError::Shape(text) if text == "[2]"));
}

/// libtorch's text ends in a stack trace of its C++.
#[test]
fn an_error_of_libtorch_says_what_it_is_and_debug_the_rest() {
    let layer = drop_connect(nn::VarStore::new(device()).root(), 6, 5, Default::default()).unwrap();
    let x = nonzero(&[2, 3]);
    let error = layer.f_forward_t(&x, true).unwrap_err();
    let (text, all) = (error.to_string(), format!("{error:?}"));
    assert!(text.starts_with("Internal torch error: ") && text.contains("(2x3 and 6x5)"), "{text}");
    assert!(!text.contains("frame #") && !text.contains("Exception raised"), "{text}");
    assert!(all.contains("Exception raised from") && all.contains("frame #0"), "{all}");
    // Whoever prints the causes, as anyhow does, prints nothing twice.
    assert!(std::error::Error::source(&error).is_none());
    let panic = panic_text(AssertUnwindSafe(|| drop(layer.forward_t(&x, true))));
    assert!(panic.ends_with(&text), "{panic}");
}

#[test]
fn integers_become_floats_in_training() {
    let _alone = alone();
    let x = Tensor::ones([4, 3], (Kind::Int64, device()));
    for (function, ..) in FUNCTIONS {
        for p in [0.0, 0.5] {
            assert_eq!(function(&x, p, true).kind(), Kind::Float);
        }
    }
}
