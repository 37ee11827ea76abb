//! Each noise shape against what it claims to be.

mod common;

use common::{assert_binomial, count_kept, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Error, NoiseShape, TrueDropout, apply_mask};

const P: f64 = 0.3;

fn layer(shape: NoiseShape) -> TrueDropout {
    TrueDropout::new(P).unwrap().with_noise_shape(shape)
}

/// Groups of elements that share a draw are dropped or kept as one, each with probability `P`.
#[track_caller]
fn assert_whole_groups(y: &Tensor, shared: &[i64]) {
    let sizes = y.size();
    let per_group: i64 = shared.iter().map(|&dimension| sizes[dimension as usize]).product();
    let mut in_group = y.ne(0).to_kind(Kind::Int64);
    if !shared.is_empty() {
        in_group = in_group.sum_dim_intlist(shared, false, Kind::Int64);
    }
    let whole = count_kept(&in_group.eq(per_group));
    assert_eq!(whole, count_kept(&in_group), "a group is dropped or kept as one");
    assert_binomial(whole, in_group.numel() as f64, 1.0 - P);
}

#[test]
fn columns_are_shared_by_all_but_dimension_1() {
    let x = nonzero(&[4, 20_000, 3, 2]);
    assert_whole_groups(&layer(NoiseShape::Columns).forward_t(&x, true), &[0, 2, 3]);
}

#[test]
fn elements_are_tensor_dropout() {
    let x = nonzero(&[400, 500]);
    for y in [layer(NoiseShape::Elements).forward_t(&x, true), x.dropout(P, true)] {
        assert_whole_groups(&y, &[]);
    }
}

#[test]
fn channels_are_feature_dropout() {
    let x = nonzero(&[200, 100, 3, 2]);
    for y in [layer(NoiseShape::Channels).forward_t(&x, true), x.feature_dropout(P, true)] {
        assert_whole_groups(&y, &[2, 3]);
    }
}

/// libtorch has no DropPath; timm's is one Bernoulli draw per sample, divided by the keep probability.
#[test]
fn samples_are_drop_path() {
    let x = nonzero(&[20_000, 3, 2]);
    let y = layer(NoiseShape::Samples).forward_t(&x, true);
    assert_whole_groups(&y, &[1, 2]);
    let kept =
        y.abs().sum_dim_intlist([1, 2].as_slice(), true, Kind::Float).ne(0).to_kind(Kind::Float);
    assert!(y.allclose(&(&x * kept / (1.0 - P)), 1e-6, 0.0, false));
}

/// Flax's `broadcast_dims` and Keras's `noise_shape`: size 1 where shared.
#[test]
fn shared_dimensions_are_the_ones_that_are_named() {
    let x = nonzero(&[200, 5, 300]);
    for time in [1, -2] {
        let variational = layer(NoiseShape::Shared(vec![time]));
        assert_eq!(variational.draw_mask(&x, true).unwrap().size(), [200, 1, 300]);
        assert_whole_groups(&variational.forward_t(&x, true), &[1]);
    }
    assert_whole_groups(&layer(NoiseShape::Shared(vec![])).forward_t(&x, true), &[]);
    assert_whole_groups(
        &layer(NoiseShape::Shared(vec![2, 0])).forward_t(&x.transpose(0, 1), true),
        &[0, 2],
    );
}

#[test]
fn named_shapes_are_shorthands_for_shared_ones() {
    let size = [3, 4, 5, 6];
    for (shape, shared) in [
        (NoiseShape::Columns, vec![0, 2, 3]),
        (NoiseShape::Elements, vec![]),
        (NoiseShape::Channels, vec![2, 3]),
        (NoiseShape::Samples, vec![1, 2, 3]),
        (NoiseShape::Batch, vec![0, 1, 2, 3]),
    ] {
        let shared = NoiseShape::Shared(shared);
        assert_eq!(shape.resolve(&size).unwrap(), shared.resolve(&size).unwrap());
        let x = nonzero(&size);
        let mask = |shape| layer(shape).with_seed(5).draw_mask(&x, true).unwrap();
        assert_eq!(mask(shape), mask(shared));
    }
}

#[test]
fn a_dimension_that_is_not_there_or_named_twice_is_an_error() {
    let x = nonzero(&[2, 3]);
    let error =
        |dimensions| layer(NoiseShape::Shared(dimensions)).f_forward_t(&x, true).unwrap_err();
    assert_eq!(
        error(vec![0, 2]).to_string(),
        "dimension 2 of the noise shape is out of range for an input of shape [2, 3]"
    );
    assert_eq!(
        error(vec![-3]).to_string(),
        "dimension -3 of the noise shape is out of range for an input of shape [2, 3]"
    );
    assert_eq!(
        error(vec![1, -1]).to_string(),
        "dimension -1 of the noise shape is named twice for an input of shape [2, 3]"
    );
    assert!(matches!(error(vec![i64::MIN]), Error::DimensionOutOfRange { .. }));
    let scalar = Tensor::from(1f32);
    assert!(layer(NoiseShape::Shared(vec![0])).f_forward_t(&scalar, true).is_err());
    assert!(layer(NoiseShape::Shared(vec![])).f_forward_t(&scalar, true).is_ok());
}

#[test]
fn a_mask_can_be_kept_and_applied_again() {
    let layer = layer(NoiseShape::Elements);
    let (step, other) = (nonzero(&[4, 8]), nonzero(&[4, 8]));
    let mask = layer.draw_mask(&step, true).unwrap();
    let dropped = |x| apply_mask(x, &mask).unwrap().eq(0);
    assert_eq!(dropped(&step), dropped(&other));
}

#[test]
fn what_a_noise_shape_prints_is_read_again() {
    let shared = [vec![], vec![1], vec![1, -1]].map(NoiseShape::Shared);
    for shape in common::SHAPES.into_iter().chain(shared) {
        assert_eq!(shape.to_string().parse::<NoiseShape>().unwrap(), shape);
    }
    assert_eq!(
        "shared over [ 0,2 ]".parse::<NoiseShape>().unwrap(),
        NoiseShape::Shared(vec![0, 2])
    );
    for wrong in [
        "",
        "Elements",
        "shared",
        "shared over 1",
        "shared over [1,]",
        "shared over [a]",
        "elements ",
    ] {
        let error = wrong.parse::<NoiseShape>().unwrap_err().to_string();
        assert!(error.ends_with(&format!("got `{wrong}`")), "{error}");
    }
}
