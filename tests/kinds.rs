//! Shapes, kinds and memory formats.

mod common;

use common::{SHAPES, assert_same_bits, device, elements, float, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, NoiseShape, Stream, TrueDropout, apply_mask};

fn with_strides(x: &Tensor) -> (Vec<i64>, Vec<i64>) {
    (x.size(), x.stride())
}

#[test]
fn from_two_dimensions_to_five() {
    for size in [&[6, 5][..], &[6, 5, 4], &[6, 5, 4, 3], &[6, 5, 4, 3, 2]] {
        let x = nonzero(size);
        for shape in SHAPES {
            let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape).with_seed(1);
            let y = layer.forward_t(&x, true);
            layer.stream().unwrap().set_step(0).unwrap();
            assert_same_bits(&y, &(&x * layer.draw_mask(&x, true).unwrap()));
            assert_eq!(with_strides(&y), with_strides(&x));
        }
    }
}

#[test]
fn every_float_kind_keeps_its_kind_and_has_the_same_mask() {
    let x = nonzero(&[40, 30]);
    for shape in SHAPES {
        let layer = || TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
        let expected = layer().forward_t(&x, true).ne(0);
        for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
            let y = layer().forward_t(&x.to_kind(kind), true);
            assert_eq!(y.kind(), kind);
            assert_eq!(y.ne(0), expected);
            assert_same_bits(&y, &((&x.to_kind(kind) * 2.0) * expected.to_kind(kind)));
        }
    }
}

#[test]
fn integers_and_booleans() {
    for kind in [Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int, Kind::Int64, Kind::Bool] {
        for shape in SHAPES {
            let x = Tensor::ones([40, 30], (kind, device()));
            let plain = Dropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
            let scaled =
                TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
            let (plain, scaled) = (plain.forward_t(&x, true), scaled.forward_t(&x, true));
            assert_eq!((plain.kind(), scaled.kind()), (kind, Kind::Float));
            assert_eq!(plain.to_kind(Kind::Float) * 2.0, scaled);
            // Without a seed the masks are drawn by another path.
            let unseeded = Dropout::new(0.5).unwrap().with_noise_shape(shape.clone());
            let unseeded = unseeded.forward_t(&x, true);
            assert_eq!(unseeded.kind(), kind);
            let greatest = unseeded.to_kind(Kind::Int64).max().int64_value(&[]);
            // A batch may be dropped as a whole.
            assert!(greatest == 1 || greatest == 0 && shape == NoiseShape::Batch);
        }
    }
}

/// Whatever a layer does to its input, the output's kind is the same.
#[test]
fn integers_become_floats_where_a_layer_rescales_in_evaluation_too() {
    let empty = Tensor::zeros([0, 3], (Kind::Int64, device()));
    for kind in [Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int, Kind::Int64, Kind::Bool] {
        let x = Tensor::ones([4, 3], (kind, device()));
        for (p, x, train) in [(0.5, &x, false), (0.0, &x, true), (0.5, &empty, true)] {
            let y = TrueDropout::new(p).unwrap().forward_t(x, train);
            assert_same_bits(&y, &x.to_kind(Kind::Float));
            let y = Dropout::new(p).unwrap().forward_t(x, train);
            assert_same_bits(&y, x);
            assert_eq!(y.data_ptr(), x.data_ptr());
        }
    }
}

#[test]
fn complex_numbers_are_dropped_as_one() {
    for (kind, real) in [(Kind::ComplexFloat, Kind::Float), (Kind::ComplexDouble, Kind::Double)] {
        for shape in SHAPES {
            let x = Tensor::randn([40, 30], (kind, device()));
            for layer in
                [TrueDropout::new(0.5).unwrap(), TrueDropout::new(0.5).unwrap().with_seed(1)]
            {
                let y = layer.with_noise_shape(shape.clone()).forward_t(&x, true);
                assert_eq!(y.kind(), kind);
                let zero = y.abs().eq(0);
                assert_eq!(y, (&x * 2.0) * zero.logical_not().to_kind(real));
            }
        }
    }
}

#[test]
fn a_complex_numbers_mask_is_real_and_as_precise() {
    let kinds = [
        (Kind::ComplexHalf, Kind::Half),
        (Kind::ComplexFloat, Kind::Float),
        (Kind::ComplexDouble, Kind::Double),
    ];
    for (kind, real) in kinds {
        let mask = TrueDropout::new(0.5)
            .unwrap()
            .draw_mask(&Tensor::empty([4, 3], (kind, device())), true);
        assert_eq!(mask.unwrap().kind(), real);
    }
}

#[test]
fn a_kind_without_multiplication_is_an_error() {
    let scale = Tensor::from_slice(&[1f32]);
    let quantized = nonzero(&[2, 3]).quantize_per_tensor(0.1, 0, Kind::QUInt8);
    let error = TrueDropout::new(0.5).unwrap().f_forward_t(&quantized, true).unwrap_err();
    assert_eq!(error.to_string(), "dropout is not defined for tensors of kind QUInt8");
    assert!(apply_mask(&quantized, &scale).is_err());
}

#[test]
fn the_memory_format_stays() {
    let channels_last = nonzero(&[4, 5, 3, 6]).permute([0, 3, 1, 2]);
    let inputs = [
        channels_last,
        nonzero(&[5, 3, 4, 6]).permute([2, 3, 0, 1]),
        nonzero(&[6, 4]).tr().unsqueeze(2),
    ];
    for x in inputs {
        assert!(!x.is_contiguous());
        for shape in SHAPES {
            for seeded in [false, true] {
                let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone());
                let layer = if seeded { layer.with_seed(1) } else { layer };
                let y = layer.forward_t(&x, true);
                assert_eq!(with_strides(&y), with_strides(&x));
                assert_eq!(y, (&x * 2.0) * y.ne(0).to_kind(Kind::Float));
            }
        }
    }
}

#[test]
fn views_with_gaps_and_repeats() {
    let base = nonzero(&[20, 30]);
    let inputs =
        [base.slice(0, 1, 19, 2), base.slice(1, 3, 30, 3), base.get(0).expand([7, 30], false)];
    for x in inputs {
        for shape in SHAPES {
            let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape).with_seed(1);
            let y = layer.forward_t(&x, true);
            layer.stream().unwrap().set_step(0).unwrap();
            assert_same_bits(&y, &layer.forward_t(&x.contiguous(), true));
        }
    }
}

#[test]
fn nothing_to_do_returns_the_input_itself_and_draws_nothing() {
    let empty = Tensor::zeros([0, 3], float());
    let x = nonzero(&[4, 3]);
    for shape in SHAPES {
        for (p, x, train) in [(0.5, &x, false), (0.0, &x, true), (0.5, &empty, true)] {
            let layer = TrueDropout::new(p).unwrap().with_noise_shape(shape.clone()).with_seed(1);
            let y = layer.forward_t(x, train);
            assert_eq!((y.data_ptr(), y.size()), (x.data_ptr(), x.size()));
            assert_eq!(layer.stream().map(Stream::step), Some(0));
        }
    }
}

#[test]
fn zero_sized_dimensions_anywhere() {
    for size in [&[0, 3][..], &[3, 0], &[2, 3, 0], &[0, 0, 0, 0]] {
        let x = Tensor::zeros(size, float());
        for shape in SHAPES {
            let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone());
            assert_eq!(layer.forward_t(&x, true).size(), size);
            let mask = layer.draw_mask(&x, true).unwrap();
            assert_eq!(mask.size(), shape.resolve(size).unwrap());
            assert_eq!(apply_mask(&x, &mask).unwrap().size(), size);
        }
    }
}

#[test]
fn too_few_dimensions_name_the_shape() {
    let vector = nonzero(&[3]);
    let layer = TrueDropout::new(0.5).unwrap();
    let text = "noise shape `columns` needs an input with at least 2 dimensions, got shape [3]";
    assert_eq!(layer.f_forward_t(&vector, true).unwrap_err().to_string(), text);
    let panic = common::panic_text(move || drop(layer.forward_t(&vector, true)));
    assert_eq!(panic, format!("TrueDropout(p=0.5, columns): {text}"));
    let scalar = Tensor::from(1f32);
    let samples = TrueDropout::samples(0.5).unwrap();
    let text = "noise shape `samples` needs an input with at least 1 dimension, got shape []";
    assert_eq!(samples.f_forward_t(&scalar, true).unwrap_err().to_string(), text);
    let elements = TrueDropout::elements(0.5).unwrap();
    assert!(elements.forward_t(&scalar, true).size().is_empty());
}

#[test]
fn where_nothing_is_dropped_no_mask_is_drawn_either() {
    let x = nonzero(&[4, 3]);
    let empty = Tensor::zeros([0, 3], float());
    for (p, x) in [(0.0, &x), (0.5, &empty), (1.0, &empty)] {
        let layer = TrueDropout::new(p).unwrap().with_seed(1);
        assert_same_bits(&layer.draw_mask(x, true).unwrap(), &Tensor::ones([1, 3], float()));
        assert_eq!(layer.stream().map(Stream::step), Some(0));
    }
    let layer = TrueDropout::new(0.0).unwrap();
    assert_eq!(layer.draw_mask(&x, true).unwrap(), Tensor::ones([1, 3], float()));
}

/// A column of a matrix: not contiguous, with a dimension of size 1.
#[test]
fn rescaled_integers_become_floats_in_any_layout() {
    let x = (Tensor::arange(60, (Kind::Int64, device())) + 1).reshape([20, 3]).narrow(1, 1, 1);
    for layer in [elements(0.4), elements(0.4).with_seed(1)] {
        let y = layer.forward_t(&x, true);
        assert_eq!(y.kind(), Kind::Float);
        let scaled = x.to_kind(Kind::Float) / 0.6;
        let right = y.eq(0).logical_or(&y.isclose(&scaled, 1e-6, 0.0, false));
        assert!(bool::try_from(right.all()).unwrap(), "{y}");
    }
}
