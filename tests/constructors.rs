//! Each constructor is the layer over the noise shape that it is named after.

mod common;

use common::{assert_same_bits, count_kept, float, nonzero};
use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{DropoutLayer, NoiseShape};

const P: f64 = 0.4;

/// Asserts that a constructor's layer draws what a layer over `shape` draws, with a seed and without.
#[track_caller]
fn assert_over<const RESCALE: bool>(layer: DropoutLayer<RESCALE>, shape: NoiseShape) {
    assert_eq!((layer.noise_shape(), layer.p()), (&shape, P));
    let expected = DropoutLayer::<RESCALE>::new(P).unwrap().with_noise_shape(shape);
    let x = nonzero(&[7, 6, 5, 4]);
    let (seeded, expected_seeded) = (layer.clone().with_seed(3), expected.clone().with_seed(3));
    for _ in 0..8 {
        assert_same_bits(&seeded.forward_t(&x, true), &expected_seeded.forward_t(&x, true));
    }
    let unseeded = |layer: &DropoutLayer<RESCALE>| {
        tch::manual_seed(3);
        layer.forward_t(&x, true)
    };
    assert_same_bits(&unseeded(&layer), &unseeded(&expected));
}

fn check<const RESCALE: bool>() {
    let _alone = common::alone();
    assert_over::<RESCALE>(DropoutLayer::new(P).unwrap(), NoiseShape::Columns);
    assert_over::<RESCALE>(DropoutLayer::columns(P).unwrap(), NoiseShape::Columns);
    assert_over::<RESCALE>(DropoutLayer::elements(P).unwrap(), NoiseShape::Elements);
    assert_over::<RESCALE>(DropoutLayer::channels(P).unwrap(), NoiseShape::Channels);
    assert_over::<RESCALE>(DropoutLayer::samples(P).unwrap(), NoiseShape::Samples);
    assert_over::<RESCALE>(DropoutLayer::batch(P).unwrap(), NoiseShape::Batch);
    let shared = NoiseShape::Shared(vec![0, -1]);
    assert_over::<RESCALE>(DropoutLayer::shared(P, &[0, -1]).unwrap(), shared);
}

#[test]
fn of_dropout() {
    check::<false>();
}

#[test]
fn of_true_dropout() {
    check::<true>();
}

#[test]
fn a_probability_outside_the_unit_interval_is_an_error_in_each() {
    let text = "p must be a probability in [0, 1], got 1.5";
    for layer in [
        DropoutLayer::<true>::new(1.5),
        DropoutLayer::columns(1.5),
        DropoutLayer::elements(1.5),
        DropoutLayer::channels(1.5),
        DropoutLayer::samples(1.5),
        DropoutLayer::batch(1.5),
        DropoutLayer::shared(1.5, &[1]),
    ] {
        assert_eq!(layer.unwrap_err().to_string(), text);
    }
}

/// A batch is dropped or kept as a whole, and both happen.
#[test]
fn one_draw_for_a_batch_of_any_rank() {
    let _alone = common::alone();
    for size in [&[][..], &[4], &[4, 3], &[1, 3], &[4, 3, 2], &[4, 3, 2, 2, 2]] {
        let x = nonzero(size);
        let layer = DropoutLayer::<true>::batch(0.5).unwrap().with_seed(1);
        let forwards = (0..64).map(|_| layer.forward_t(&x, true)).collect::<Vec<Tensor>>();
        for y in &forwards {
            let expected = if count_kept(y) == 0.0 { x.zeros_like() } else { &x * 2.0 };
            assert_same_bits(y, &expected);
        }
        let kept = forwards.iter().filter(|&y| count_kept(y) > 0.0).count();
        assert!((16..48).contains(&kept), "{kept} of 64 kept");
        let mask = layer.draw_mask(&x, true).unwrap();
        assert_eq!(mask.size(), vec![1; size.len()]);
    }
    let mask = DropoutLayer::<true>::batch(1.0).unwrap().draw_mask(&Tensor::from(1f32), true);
    assert_same_bits(&mask.unwrap(), &Tensor::zeros([], float()));
}
