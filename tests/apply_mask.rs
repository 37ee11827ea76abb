//! `apply_mask`: a product that never changes the input's shape, nor the kind of floats.

mod common;

use common::{assert_same_bits, device, float, nonzero};
use tch::{Kind, Tensor};
use tch_dropout::{Error, apply_mask};

/// Multiplying would expand the input, in size or in rank, or could not be done at all.
#[test]
fn a_mask_that_does_not_fit_is_an_error() {
    let sizes: [(&[i64], &[&[i64]]); 8] = [
        // Of the input, and of masks.
        (&[2, 3], &[&[2], &[3, 1], &[1, 2, 3], &[4, 2, 3], &[1, 1, 1], &[0, 3], &[2, 0]]),
        (&[1, 3], &[&[2, 3], &[2, 1], &[5, 1], &[0, 3], &[1, 1, 3]]),
        (&[2, 1], &[&[3], &[2, 3], &[1, 3], &[0]]),
        (&[1, 1], &[&[2], &[2, 1], &[1, 2], &[1, 1, 1]]),
        (&[3], &[&[1, 3], &[1, 1], &[2]]),
        (&[], &[&[1], &[0], &[1, 1], &[3]]),
        (&[0, 3], &[&[2, 3], &[1, 0], &[1, 0, 3]]),
        (&[4, 1, 3], &[&[4, 2, 3], &[2, 3], &[2, 1], &[5, 1, 1], &[1, 4, 1, 3]]),
    ];
    for (input, masks) in sizes {
        let x = nonzero(input);
        for mask in masks {
            let error = apply_mask(&x, &Tensor::ones(*mask, float())).unwrap_err();
            assert!(matches!(error, Error::MaskShape { .. }));
            assert_eq!(
                error.to_string(),
                format!(
                    "a mask of shape {mask:?} does not broadcast over an input of shape {input:?}"
                )
            );
        }
    }
}

#[test]
fn a_mask_that_fits_is_broadcast() {
    let sizes: [(&[i64], &[&[i64]]); 5] = [
        (&[2, 3], &[&[2, 3], &[1, 3], &[2, 1], &[1, 1], &[3], &[1], &[]]),
        (&[1, 3], &[&[1, 3], &[1, 1], &[3], &[1], &[]]),
        (&[], &[&[]]),
        (&[0, 3], &[&[0, 3], &[1, 3], &[0, 1], &[3], &[]]),
        (&[4, 1, 3], &[&[4, 1, 1], &[1, 3], &[4, 1, 3], &[1, 1, 3]]),
    ];
    for (input, masks) in sizes {
        let x = nonzero(input);
        for mask in masks {
            let mask = nonzero(mask);
            let y = apply_mask(&x, &mask).unwrap();
            assert_eq!(y.size(), input);
            assert_same_bits(&y, &(&x * mask.expand(input, false)));
        }
    }
}

#[test]
fn a_complex_mask_keeps_its_imaginary_part() {
    let x = Tensor::randn([4, 3], (Kind::ComplexFloat, device()));
    let mask = Tensor::randn([4, 3], (Kind::ComplexFloat, device()));
    assert_eq!(apply_mask(&x, &mask).unwrap(), &x * &mask);
}

#[test]
fn a_mask_of_another_kind_leaves_the_inputs() {
    for kind in [Kind::Float, Kind::Half, Kind::BFloat16, Kind::ComplexFloat] {
        let x = nonzero(&[4, 3]).to_kind(kind);
        let expected = &x * Tensor::ones([3], (kind, device())) * 2.0;
        for mask in [Kind::Double, Kind::Float, Kind::Int64] {
            let y = apply_mask(&x, &Tensor::full([3], 2, (mask, device()))).unwrap();
            assert_eq!((y.kind(), &y), (kind, &expected));
        }
    }
}

/// As in libtorch, for integers: a mask of ones and zeros leaves them, and one with a fraction makes floats.
#[test]
fn an_integers_kind_is_that_of_the_product() {
    let x = Tensor::from_slice(&[1i64, 2, 3]).to_device(device());
    for (mask, kind) in [
        (Kind::Bool, Kind::Int64),
        (Kind::Uint8, Kind::Int64),
        (Kind::Int64, Kind::Int64),
        (Kind::Float, Kind::Float),
    ] {
        let y = apply_mask(&x, &Tensor::ones([3], (mask, device()))).unwrap();
        assert_same_bits(&y, &x.to_kind(kind));
    }
}
