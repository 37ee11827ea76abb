//! An input that a layer cannot take is an error whether or not the layer drops anything: a model that runs
//! in evaluation runs in training.

mod common;

use common::{SHAPES, nonzero};
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, DropoutLayer, Error, NoiseShape, Stream, TrueDropout};

/// The layer's answers, in training, in evaluation and with `p = 0`: all the same error.
#[track_caller]
fn assert_error<const RESCALE: bool>(shape: &NoiseShape, x: &Tensor, text: &str) {
    for (p, train) in [(0.5, true), (0.5, false), (0.0, true), (0.0, false), (1.0, true)] {
        let layer = DropoutLayer::<RESCALE>::new(p).unwrap().with_noise_shape(shape.clone());
        for layer in [layer.clone(), layer.with_seed(1)] {
            for result in [layer.f_forward_t(x, train), layer.draw_mask(x, train)] {
                assert_eq!(result.unwrap_err().to_string(), text, "p = {p}, train = {train}");
            }
            assert!([None, Some(0)].contains(&layer.stream().map(Stream::step)));
        }
    }
}

#[test]
fn too_few_dimensions() {
    let vector = Tensor::from_slice(&[1f32, 2.0, 3.0]);
    let (scalar, empty) = (Tensor::from(1f32), Tensor::zeros([0], common::float()));
    let text = |noise, needed, shape| {
        format!("noise shape `{noise}` needs an input with at least {needed}, got shape {shape}")
    };
    for (shape, name) in [(NoiseShape::Columns, "columns"), (NoiseShape::Channels, "channels")] {
        assert_error::<true>(&shape, &vector, &text(name, "2 dimensions", "[3]"));
        assert_error::<false>(&shape, &vector, &text(name, "2 dimensions", "[3]"));
        assert_error::<true>(&shape, &empty, &text(name, "2 dimensions", "[0]"));
        assert_error::<true>(&shape, &scalar, &text(name, "2 dimensions", "[]"));
    }
    assert_error::<true>(&NoiseShape::Samples, &scalar, &text("samples", "1 dimension", "[]"));
}

#[test]
fn shared_dimensions_that_are_not_there_or_named_twice() {
    let text = |what| format!("dimension {what} for an input of shape [4, 3]");
    let x = nonzero(&[4, 3]);
    for (dims, what) in [
        (vec![9], "9 of the noise shape is out of range"),
        (vec![2], "2 of the noise shape is out of range"),
        (vec![0, -3], "-3 of the noise shape is out of range"),
        (vec![1, 1], "1 of the noise shape is named twice"),
        (vec![0, -2], "-2 of the noise shape is named twice"),
    ] {
        let shape = NoiseShape::Shared(dims);
        assert_error::<true>(&shape, &x, &text(what));
        assert_error::<false>(&shape, &x, &text(what));
    }
}

#[test]
fn kinds_without_multiplication() {
    let quantized = nonzero(&[4, 3]).quantize_per_tensor(0.1, 0, Kind::QUInt8);
    for shape in SHAPES {
        let text = "dropout is not defined for tensors of kind QUInt8";
        assert_error::<true>(&shape, &quantized, text);
        assert_error::<false>(&shape, &quantized, text);
    }
}

#[test]
fn what_fits_is_no_error() {
    let x = nonzero(&[4, 3]);
    for (p, train) in [(0.5, true), (0.5, false), (0.0, true)] {
        for shape in SHAPES.into_iter().chain([NoiseShape::Shared(vec![-2, 1])]) {
            let layer = TrueDropout::new(p).unwrap().with_noise_shape(shape);
            assert!(layer.f_forward_t(&x, train).is_ok());
        }
        for scalar in [NoiseShape::Elements, NoiseShape::Batch, NoiseShape::Shared(vec![])] {
            let layer = Dropout::new(p).unwrap().with_noise_shape(scalar);
            assert!(layer.f_forward_t(&Tensor::from(1f32), train).is_ok());
        }
    }
    let error = TrueDropout::shared(0.5, &[9]).unwrap().f_forward_t(&x, false).unwrap_err();
    assert!(matches!(error, Error::DimensionOutOfRange { dimension: 9, .. }));
}
