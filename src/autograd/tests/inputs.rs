//! What `with_inputs` promises, on a product.

use std::sync::{Arc, Mutex};

use tch::{Kind, Tensor};

use super::{leaf, values};
use crate::autograd::with_inputs;
use crate::error::Error;

/// `x * y`, with a list of what was needed in each call of the closure.
fn product(x: &Tensor, y: &Tensor) -> (Tensor, Arc<Mutex<Vec<Vec<bool>>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let product = with_inputs(&[x, y], x.detach() * y.detach(), move |gradient, inputs, needed| {
        list.lock().unwrap().push(needed.to_vec());
        Ok(vec![Some(gradient * &inputs[1]), needed[1].then(|| gradient * &inputs[0])])
    });
    (product.unwrap().sum(Kind::Double), asked)
}

#[test]
fn one_call_computes_all_gradients_that_are_needed() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let (sum, asked) = product(&x, &y);
    let gradient = |of: &Tensor| values(&Tensor::run_backward(&[&sum], &[of], true, false)[0]);
    assert_eq!((gradient(&x), gradient(&y)), (vec![3.0, 4.0], vec![1.0, 2.0]));
    sum.backward();
    assert_eq!((values(&x.grad()), values(&y.grad())), (vec![3.0, 4.0], vec![1.0, 2.0]));
    assert_eq!(*asked.lock().unwrap(), [[true, false], [false, true], [true, true]]);
}

#[test]
fn the_inputs_are_freed_by_a_backward_that_does_not_keep_the_graph() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let (sum, _) = product(&x, &y);
    sum.backward();
    let error = sum.f_backward().unwrap_err().to_string();
    assert!(error.contains("through the graph a second time"), "{error}");
}

#[test]
fn an_input_that_is_modified_in_place_is_an_error() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let (sum, asked) = product(&x, &y);
    let _ = tch::no_grad(|| y.shallow_clone().fill_(5.0));
    let error = sum.f_backward().unwrap_err().to_string();
    assert!(error.contains("modified by an inplace operation"), "{error}");
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn an_input_keeps_its_history() {
    let x = leaf(&[2.0]);
    let inner = &x * 3.0;
    let y = with_inputs(&[&inner], inner.detach(), |gradient, inputs, _| {
        assert!(inputs[0].requires_grad() && !inputs[0].is_leaf());
        Ok(vec![Some(gradient * 1.0)])
    });
    y.unwrap().backward();
    assert_eq!(values(&x.grad()), [3.0]);
}

#[test]
fn an_error_of_the_closure_is_one_of_the_backward() {
    let x = leaf(&[1.0]);
    let y = with_inputs(&[&x], x.detach() * 1.0, |_, _, _| Err(Error::Layers)).unwrap();
    let error = y.f_backward().unwrap_err().to_string();
    assert!(error.contains("have all been handed out"), "{error}");
}
