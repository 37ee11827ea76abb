//! What Flax's tests expect of dropout, checked on ours.
//!
//! A Flax rng is a seed here, and its count a step; `deterministic` is `!train`.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `tests/linen/linen_test.py` | |
//! | `test_dropout` | `two_rngs_differ_in_training_and_agree_in_evaluation` |
//! | `test_dropout_rate_stats`: 10 keys a rate, 4 sigma | `every_rate_keeps_its_share` |
//! | `test_dropout_rate_limits`, the gradient too | `the_limits_of_the_rate_have_a_gradient` |
//! | `test_dropout_broadcast` | `broadcast_dims_drop_whole_slices` |
//! | `test_dropout_manual_rng` | `the_same_rng_given_to_two_layers` |
//! | `tests/nnx/nn/stochastic_test.py` | |
//! | `test_dropout_internal_rngs` | `a_layers_own_rng_and_a_restored_one_go_along` |
//! | the same: traced once under `jit` | a trace draws anew in each call: tests/tracing.rs |
//! | `test_dropout_rng_override` | `another_rng_takes_the_place_of_the_layers` |
//! | `test_dropout_arg_override`, `_view`: the call's flag or the layer's | `the_call_alone_says_whether_it_is_training` |
//! | the same: an error without a rng | no error: libtorch's generator draws, tests/generator.rs |
//! | a rate that is a tracer; no test of theirs | `p` is a number, checked when the layer is made |
//! | dropout inside attention and recurrent cells | the crate has neither; `draw_mask` serves them: tests/expectations_keras.rs |

mod common;

use common::{assert_binomial, assert_same_bits, count_kept, elements, float, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{NoiseShape, Stream, TrueDropout};

#[test]
fn two_rngs_differ_in_training_and_agree_in_evaluation() {
    let x = Tensor::ones([20, 20], float());
    let (a, b) = (elements(0.5).with_seed(1), elements(0.5).with_seed(2));
    assert_ne!(a.forward_t(&x, true), b.forward_t(&x, true));
    assert_same_bits(&a.forward_t(&x, false), &b.forward_t(&x, false));
}

#[test]
fn every_rate_keeps_its_share() {
    let x = Tensor::ones([100, 100], float());
    for tenths in 1..10 {
        let rate = f64::from(tenths) / 10.0;
        let trials = (0..10).map(|trial| elements(rate).with_seed(10 * tenths as u64 + trial));
        let total: f64 = trials.map(|layer| count_kept(&layer.forward_t(&x, true))).sum();
        assert_binomial(total, 1e5, 1.0 - rate);
        let unseeded: f64 = (0..10).map(|_| count_kept(&elements(rate).forward_t(&x, true))).sum();
        assert_binomial(unseeded, 1e5, 1.0 - rate);
    }
}

#[test]
fn the_limits_of_the_rate_have_a_gradient() {
    for (rate, expected) in [(0.0, 1.0), (1.0, 0.0)] {
        for layer in [elements(rate), elements(rate).with_seed(3)] {
            let x = Tensor::ones([20, 20], float()).set_requires_grad(true);
            let y = layer.forward_t(&x, true);
            assert_same_bits(&y.detach(), &Tensor::full([20, 20], expected, float()));
            y.sum(Kind::Float).backward();
            assert_same_bits(&x.grad(), &Tensor::full([20, 20], expected, float()));
        }
    }
}

/// A slice along the shared dimensions is all 0 or all 2.
#[test]
fn broadcast_dims_drop_whole_slices() {
    for (rank, broadcast_dims) in [
        (2, &[1][..]),
        (2, &[0]),
        (3, &[1, 2]),
        (3, &[1]),
        (4, &[0, 2, 3]),
        (4, &[0, 1]),
        (4, &[3]),
    ] {
        let shape = NoiseShape::Shared(broadcast_dims.to_vec());
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape).with_seed(0);
        let (mut whole, mut slices) = (0.0, 0.0);
        for _ in 0..20 {
            let y = layer.forward_t(&Tensor::ones(vec![10; rank], float()), true);
            let sums = y.sum_dim_intlist(broadcast_dims, false, Kind::Float);
            let total = 2.0 * 10f64.powi(broadcast_dims.len() as i32);
            assert_eq!(
                count_kept(&sums.eq(total)),
                count_kept(&sums),
                "{broadcast_dims:?}: {sums}"
            );
            whole += count_kept(&sums);
            slices += sums.numel() as f64;
        }
        assert_binomial(whole, slices, 0.5);
    }
}

#[test]
fn the_same_rng_given_to_two_layers() {
    let x = Tensor::ones([20, 20], float());
    let rng = Stream::new(0);
    let (a, b) = (elements(0.5).with_stream(rng.clone()), elements(0.5).with_stream(rng));
    assert_same_bits(&a.forward_t(&x, true), &b.forward_t(&x, true));
}

#[test]
fn a_layers_own_rng_and_a_restored_one_go_along() {
    let x = Tensor::ones([1, 100], float());
    let layer = elements(0.5).with_seed(0);
    let mut given = Stream::new(0);
    for count in 0..2 {
        assert_eq!((layer.stream().map(Stream::step), given.step()), (Some(count), count));
        let with_given = elements(0.5).with_stream(given.clone());
        assert_same_bits(&layer.forward_t(&x, true), &with_given.forward_t(&x, true));
        given = Stream::new(0);
        given.set_step(with_given.stream().map(Stream::step).unwrap()).unwrap();
    }
    assert_eq!((layer.stream().map(Stream::step), given.step()), (Some(2), 2));
}

#[test]
fn another_rng_takes_the_place_of_the_layers() {
    let x = Tensor::ones([1, 100], float());
    let (a, b) = (elements(0.5).with_seed(0), elements(0.5).with_seed(1));
    let expected = a.forward_t(&x, true);
    assert_ne!(b.forward_t(&x, true), expected);
    assert_same_bits(&b.with_stream(Stream::new(0)).forward_t(&x, true), &expected);
}

/// There is no mode to set on a layer, and so none to forget or to contradict.
#[test]
fn the_call_alone_says_whether_it_is_training() {
    let x = nonzero(&[1, 100]);
    let layer = elements(0.5).with_seed(0);
    assert_same_bits(&layer.forward_t(&x, false), &x);
    let y = layer.forward_t(&x, true);
    assert_binomial(count_kept(&y), 100.0, 0.5);
    assert_same_bits(&layer.forward_t(&x, false), &x);
}
