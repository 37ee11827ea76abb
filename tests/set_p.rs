//! A probability that changes between forward passes, as a schedule's does.

mod common;

use common::{assert_binomial, assert_same_bits, count_kept, device, elements, float, nonzero};
use tch::Tensor;
use tch::nn::{self, ModuleT};
use tch_dropout::{Dropout, Stream, TrueDropout, drop_connect};

#[test]
fn the_next_forward_has_the_new_probability() {
    let x = Tensor::ones([100_000], float());
    for layer in [elements(0.5), elements(0.5).with_seed(1)] {
        for p in [0.1, 0.9, 0.5, 0.25] {
            layer.set_p(p).unwrap();
            assert_eq!(layer.p(), p);
            let y = layer.forward_t(&x, true);
            assert_binomial(count_kept(&y), 1e5, 1.0 - p);
            assert!((y.max().double_value(&[]) - 1.0 / (1.0 - p)).abs() < 1e-5);
        }
        layer.set_p(0.0).unwrap();
        assert_same_bits(&layer.forward_t(&x, true), &x);
        layer.set_p(1.0).unwrap();
        assert_same_bits(&layer.forward_t(&x, true), &x.zeros_like());
    }
}

#[test]
fn what_is_not_a_probability_leaves_the_old_one() {
    let layer = Dropout::columns(0.25).unwrap().with_seed(1);
    for wrong in [1.5, -0.1, f64::NAN, f64::INFINITY] {
        let error = layer.set_p(wrong).unwrap_err().to_string();
        assert_eq!(error, format!("p must be a probability in [0, 1], got {wrong:?}"));
        assert_eq!(layer.p(), 0.25);
    }
    let unchanged = Dropout::columns(0.25).unwrap().with_seed(1);
    let x = nonzero(&[2, 1000]);
    assert_same_bits(&layer.forward_t(&x, true), &unchanged.forward_t(&x, true));
}

#[test]
fn all_else_of_the_layer_stays() {
    let layer = TrueDropout::channels(0.5).unwrap().with_seed(7);
    let x = nonzero(&[40, 30, 2]);
    let _ = layer.forward_t(&x, true);
    layer.set_p(0.25).unwrap();
    assert_eq!(layer.to_string(), "TrueDropout(p=0.25, channels)");
    assert_eq!(layer.stream().map(Stream::step), Some(1));
    let expected = TrueDropout::channels(0.25).unwrap().with_seed(7);
    let _ = expected.forward_t(&x, true);
    assert_same_bits(&layer.forward_t(&x, true), &expected.forward_t(&x, true));
}

#[test]
fn a_clone_has_its_own_probability() {
    let layer = elements(0.5);
    let clone = layer.clone();
    layer.set_p(0.25).unwrap();
    assert_eq!((layer.p(), clone.p()), (0.25, 0.5));
}

#[test]
fn of_drop_connect() {
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 8, 4, Default::default()).unwrap();
    assert_eq!(layer.p(), 0.5);
    let x = nonzero(&[3, 8]);
    layer.set_p(1.0).unwrap();
    let bias = layer.linear.bs.as_ref().unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &bias.expand([3, 4], false));
    layer.set_p(0.0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &layer.forward_t(&x, false));
    assert!(layer.set_p(2.0).is_err());
    assert_eq!(layer.p(), 0.0);
}
