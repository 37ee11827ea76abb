//! The gradient is the mask.

mod common;

use common::{SHAPES, assert_same_bits, device, nonzero};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{DropConnectConfig, Dropout, NoiseShape, TrueDropout, drop_connect};

fn leaf(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (kind, device())).set_requires_grad(true)
}

#[test]
fn the_gradient_is_the_mask_and_its_scale() {
    for shape in SHAPES.into_iter().chain([NoiseShape::Shared(vec![-1])]) {
        let x = leaf(&[8, 9, 10], Kind::Float);
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
        layer.forward_t(&x, true).sum(Kind::Float).backward();
        layer.stream().unwrap().set_step(0).unwrap();
        let mask = layer.draw_mask(&x, true).unwrap();
        assert_eq!(mask.size(), shape.resolve(&x.size()).unwrap());
        assert_same_bits(&x.grad(), &mask.expand_as(&x));

        let x = leaf(&[8, 9, 10], Kind::Float);
        Dropout::new(0.5)
            .unwrap()
            .with_seed(1)
            .with_noise_shape(shape)
            .forward_t(&x, true)
            .sum(Kind::Float)
            .backward();
        assert_same_bits(&x.grad(), &(mask * 0.5).expand_as(&x));
    }
}

#[test]
fn double_backward_works() {
    let x = leaf(&[4, 5], Kind::Double);
    let layer = TrueDropout::new(0.5).unwrap().with_seed(1);
    let mask = TrueDropout::new(0.5).unwrap().with_seed(1).draw_mask(&x, true).unwrap();
    let cubed = layer.forward_t(&x, true).pow_tensor_scalar(3).sum(Kind::Double);
    let first = Tensor::run_backward(&[&cubed], &[&x], true, true).remove(0);
    let second = Tensor::run_backward(&[first.sum(Kind::Double)], &[&x], false, false).remove(0);
    // d²/dx² (m x)³ = 6 m³ x
    assert!(second.allclose(&(x.detach() * mask.pow_tensor_scalar(3) * 6), 1e-12, 0.0, false));
}

/// Central differences in f64, of a function that is not linear in the layer's output.
#[test]
fn the_gradient_agrees_with_differences() {
    let forward = |x: &Tensor| {
        let layer = TrueDropout::elements(0.4).unwrap().with_seed(3);
        layer.forward_t(x, true).sin().sum(Kind::Double)
    };
    let x = leaf(&[3, 4], Kind::Double);
    forward(&x).backward();
    for i in 0..12 {
        let step = Tensor::zeros([12], (Kind::Double, device()));
        let _ = step.narrow(0, i, 1).fill_(1e-6);
        let step = step.reshape([3, 4]);
        let difference = forward(&(x.detach() + &step)) - forward(&(x.detach() - &step));
        let numerical = difference.double_value(&[]) / 2e-6;
        let analytical = x.grad().double_value(&[i / 4, i % 4]);
        assert!((numerical - analytical).abs() < 1e-8, "{numerical} and {analytical}");
    }
}

#[test]
fn leaves_and_non_leaves_and_tensors_without_gradient() {
    let layer = TrueDropout::new(0.5).unwrap();
    let x = leaf(&[4, 5], Kind::Float);
    assert!(layer.forward_t(&x, true).requires_grad());
    assert!(!x.grad().defined());
    let inner = &x * 2.0;
    layer.forward_t(&inner, true).sum(Kind::Float).backward();
    assert!(x.grad().defined());
    assert!(!layer.forward_t(&x.detach(), true).requires_grad());
    assert!(!layer.draw_mask(&x, true).unwrap().requires_grad());
    let _no_grad = tch::no_grad_guard();
    assert!(!layer.forward_t(&x, true).requires_grad());
}

#[test]
fn the_input_is_not_touched() {
    let x = nonzero(&[4, 5]);
    let before = x.copy();
    let _ = TrueDropout::new(0.5).unwrap().forward_t(&x, true);
    assert_same_bits(&x, &before);
}

#[test]
fn a_dropped_weight_has_no_gradient_and_the_bias_has_its_own() {
    let vs = nn::VarStore::new(device());
    let config = DropConnectConfig { p: 0.5, ..Default::default() };
    let layer = drop_connect(vs.root(), 8, 4, config).unwrap().with_seed(1);
    let x = Tensor::ones([16, 8], common::float());
    layer.forward_t(&x, true).sum(Kind::Float).backward();
    let expected = TrueDropout::elements(0.5).unwrap().with_seed(1);
    let mask = expected.draw_mask(&layer.linear.ws, true).unwrap();
    assert_same_bits(&layer.linear.ws.grad(), &(mask * 16));
    let bias = layer.linear.bs.as_ref().unwrap();
    assert_eq!(bias.grad(), Tensor::full([4], 16.0, common::float()));
}
