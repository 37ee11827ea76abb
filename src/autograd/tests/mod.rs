//! What `with_backward` promises, on a multiplication by a number.

mod autocast;
mod failures;
mod inputs;
mod lifetimes;
#[cfg(target_os = "linux")]
mod memory;

use std::sync::{Arc, Mutex};
use std::thread;

use tch::{Device, Kind, Tensor};

use super::with_backward;
use crate::error::Result;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn values(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x.flatten(0, -1).to_kind(Kind::Double)).unwrap()
}

/// `x * factor`, whose gradient is one of these again.
fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    let y = tch::no_grad(|| x.f_mul_scalar(factor))?;
    with_backward([x], y, move |gradient, _| scale(gradient, factor))
}

/// `residual + x * factor`.
fn scale_and_add(x: &Tensor, factor: f64, residual: &Tensor) -> Result<Tensor> {
    let y = tch::no_grad(|| (x * factor).f_add(residual))?;
    with_backward([x, residual], y, move |gradient, input| match input {
        0 => scale(gradient, factor),
        _ => Ok(gradient.shallow_clone()),
    })
}

/// The gradient of the sum of `y`, with a graph of its own.
fn gradient(y: &Tensor, x: &Tensor) -> Tensor {
    Tensor::run_backward(&[y.sum(Kind::Double)], &[x], true, true).remove(0)
}

#[test]
fn the_gradient_is_the_closures_and_not_the_forwards() {
    let x = leaf(&[1.0, 2.0]);
    let y = with_backward([&x], Tensor::from_slice(&[7.0, 8.0]), |gradient, input| {
        assert_eq!(input, 0);
        Ok(gradient * 10.0)
    });
    let y = y.unwrap();
    assert_eq!(values(&y), [7.0, 8.0]);
    y.dot(&Tensor::from_slice(&[3.0, 4.0])).backward();
    assert_eq!(values(&x.grad()), [30.0, 40.0]);
}

#[test]
fn the_result_is_the_forwards_memory() {
    let x = leaf(&[1.0]);
    for requires_grad in [false, true] {
        let y = Tensor::ones([2, 3, 4, 5], DOUBLE).permute([0, 3, 1, 2]);
        let (memory, stride) = (y.data_ptr(), y.stride());
        let y = with_backward([&x.set_requires_grad(requires_grad)], y, |_, _| unreachable!());
        let y = y.unwrap();
        assert_eq!((y.data_ptr(), y.stride()), (memory, stride));
        assert_eq!(y.requires_grad(), requires_grad);
    }
}

#[test]
fn every_floating_kind_has_a_gradient_of_its_own_kind() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double, Kind::ComplexFloat] {
        let x = Tensor::ones([3], (kind, Device::Cpu)).set_requires_grad(true);
        scale(&x, 3.0).unwrap().real().sum(None).backward();
        assert_eq!(x.grad().kind(), kind);
        assert_eq!(values(&x.grad().real()), [3.0; 3]);
    }
}

/// Central differences, of a function that is linear in none of its inputs.
#[test]
fn gradients_agree_with_differences() {
    let f = |x: &Tensor, residual: &Tensor| {
        let inner = scale(&x.sin(), 1.5).unwrap();
        scale_and_add(&inner, -0.7, &residual.exp()).unwrap().cos().sum(Kind::Double)
    };
    let inputs = [leaf(&[0.3, -1.2, 2.0]), leaf(&[0.1, 0.9, -0.4])];
    f(&inputs[0], &inputs[1]).backward();
    for (input, x) in inputs.iter().enumerate() {
        for i in 0..3 {
            let at = |step: f64| {
                let moved = inputs.each_ref().map(|x| x.detach().copy());
                let _ = moved[input].get(i).g_add_scalar_(step);
                f(&moved[0], &moved[1]).double_value(&[])
            };
            let numerical = (at(1e-6) - at(-1e-6)) / 2e-6;
            let analytical = x.grad().double_value(&[i]);
            assert!((numerical - analytical).abs() < 1e-8, "{numerical} and {analytical}");
        }
    }
}

/// The derivatives of (3 x)⁴.
#[test]
fn there_are_gradients_of_the_third_order() {
    let x = leaf(&[0.5, -2.0]);
    let y = scale(&x, 3.0).unwrap().pow_tensor_scalar(4);
    let first = gradient(&y, &x);
    let second = gradient(&first, &x);
    let third = gradient(&second, &x);
    let expected = |f: fn(f64) -> f64| [0.5, -2.0].map(|x| 81.0 * f(x));
    assert_eq!(values(&first), expected(|x| 4.0 * x.powi(3)));
    assert_eq!(values(&second), expected(|x| 12.0 * x.powi(2)));
    assert_eq!(values(&third), expected(|x| 24.0 * x));
}

/// What a closure computes is in the graph with `create_graph`, and only then.
#[test]
fn a_closures_operations_are_recorded_for_the_next_order() {
    for create_graph in [false, true] {
        let x = leaf(&[0.5, -2.0]);
        let inner = x.tanh();
        let y = with_backward([&inner], inner.detach() * 3.0, |gradient, _| Ok(gradient * 3.0));
        let y = y.unwrap().square().sum(Kind::Double);
        let first = Tensor::run_backward(&[&y], &[&inner], true, create_graph).remove(0);
        assert_eq!(first.requires_grad(), create_graph);
        if create_graph {
            assert_eq!(values(&gradient(&first, &inner)), [18.0; 2]);
        }
    }
}

#[test]
fn leaves_and_others_have_gradients() {
    let x = leaf(&[1.0, 2.0]);
    let inner = &x * 5.0;
    let y = scale(&inner, 2.0).unwrap();
    assert!(y.requires_grad() && !y.is_leaf());
    (scale(&y, 3.0).unwrap() + scale(&x, 7.0).unwrap()).sum(Kind::Double).backward();
    assert_eq!(values(&x.grad()), [37.0; 2]);
}

#[test]
fn a_graph_can_be_used_twice() {
    let x = leaf(&[1.0, 2.0]);
    let y = scale(&x, 3.0).unwrap().sum(Kind::Double);
    let kept = Tensor::run_backward(&[&y], &[&x], true, false).remove(0);
    assert_eq!(values(&kept), [3.0; 2]);
    // The graph has nothing to free that a second one would miss.
    y.backward();
    (y * 10.0).backward();
    assert_eq!(values(&x.grad()), [33.0; 2]);
}

/// The gradient that both have is one tensor. Adding to one's must not change the other's.
#[test]
fn two_inputs_have_their_gradients() {
    let (x, residual) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    for round in 1..3 {
        let y = scale_and_add(&x, 5.0, &residual).unwrap();
        assert_eq!(values(&y), [8.0, 14.0]);
        y.dot(&Tensor::from_slice(&[1.0, 10.0])).backward();
        scale(&residual, 100.0).unwrap().sum(Kind::Double).backward();
        let round = f64::from(round);
        assert_eq!(values(&x.grad()), [5.0 * round, 50.0 * round]);
        assert_eq!(values(&residual.grad()), [101.0 * round, 110.0 * round]);
    }
}

/// `with_backward` over `inputs`, with a list of the inputs whose gradients were asked for.
fn listening<const N: usize>(inputs: [&Tensor; N]) -> (Tensor, Arc<Mutex<Vec<usize>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let y = with_backward(inputs, inputs[0].detach() * 1.0, move |gradient, input| {
        list.lock().unwrap().push(input);
        Ok(gradient.shallow_clone())
    });
    (y.unwrap(), asked)
}

#[test]
fn only_gradients_that_are_needed_are_computed() {
    let (x, residual) = (leaf(&[1.0]), leaf(&[2.0]));
    let (y, asked) = listening([&x, &residual]);
    Tensor::run_backward(&[&y], &[&residual], true, false);
    assert_eq!(*asked.lock().unwrap(), [1]);
    y.backward();
    assert_eq!(*asked.lock().unwrap(), [1, 0, 1]);

    let (y, asked) = listening([&x.detach(), &residual]);
    y.backward();
    assert_eq!(*asked.lock().unwrap(), [1]);
}

/// A backward closure after `y` that has no gradient for it.
#[test]
fn no_gradient_of_the_output_is_none_of_the_input() {
    let x = leaf(&[1.0]);
    let (y, asked) = listening([&x]);
    let z = with_backward([&y], y.detach() * 1.0, |_, _| Ok(Tensor::new())).unwrap();
    z.backward();
    assert!(!x.grad().defined());
    assert!(asked.lock().unwrap().is_empty());
}

/// An expanded gradient, which `sum` has, is not copied to its full size.
#[test]
fn the_closure_gets_the_gradient_as_it_is() {
    let x = Tensor::ones([3, 4], DOUBLE).set_requires_grad(true);
    let strides = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&strides);
    let y = with_backward([&x], x.detach() * 1.0, move |gradient, _| {
        list.lock().unwrap().push(gradient.stride());
        Ok(gradient.shallow_clone())
    });
    let y = y.unwrap();
    y.sum(Kind::Double).backward();
    (y.transpose(0, 1) * Tensor::ones([4, 3], DOUBLE)).sum(Kind::Double).backward();
    assert_eq!(*strides.lock().unwrap(), [[0, 0], [1, 3]]);
    assert_eq!(values(&x.grad()), [2.0; 12]);
}

#[test]
fn a_graph_can_be_used_on_other_threads() {
    let x = leaf(&[1.0, 2.0]);
    let on = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&on);
    let y = with_backward([&x], x.detach() * 3.0, move |gradient, _| {
        list.lock().unwrap().push(thread::current().id());
        scale(gradient, 3.0)
    });
    let y = y.unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (x, y) = (x.shallow_clone(), y.shallow_clone());
            thread::spawn(move || {
                for _ in 0..100 {
                    assert_eq!(values(&gradient(&y, &x)), [3.0; 2]);
                }
            })
        })
        .collect();
    drop(y);
    let mut expected: Vec<_> = threads.iter().flat_map(|t| vec![t.thread().id(); 100]).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut on = on.lock().unwrap();
    let number = |id: &thread::ThreadId| format!("{id:?}");
    on.sort_by_key(number);
    expected.sort_by_key(number);
    assert_eq!(*on, expected);
}

/// Recomputing a forward pass does this: it has a graph of its own.
#[test]
fn a_backward_can_run_a_backward() {
    let x = leaf(&[2.0]);
    let again = x.detach().copy();
    let again = Mutex::new(again);
    let y = with_backward([&x], x.detach().square(), move |gradient, _| {
        let x = again.lock().unwrap().copy().set_requires_grad(true);
        let inner = tch::with_grad(|| scale(&x, 1.0).map(|y| y.square().sum(Kind::Double)))?;
        let derivative = Tensor::f_run_backward(&[inner], &[&x], false, false)?.remove(0);
        Ok(gradient * derivative)
    });
    y.unwrap().backward();
    assert_eq!(values(&x.grad()), [4.0]);
}

#[test]
fn an_output_with_a_history_loses_it_and_its_other_holders_keep_it() {
    let x = leaf(&[1.0]);
    let y = &x * 2.0;
    let z = with_backward([&x], y.shallow_clone(), |gradient, _| Ok(gradient * 5.0)).unwrap();
    assert_eq!(z.data_ptr(), y.data_ptr());
    z.backward();
    assert_eq!(values(&x.grad()), [5.0]);
    y.backward();
    assert_eq!(values(&x.grad()), [7.0]);
}
