//! Errors and panics of a closure, and what libtorch does not take.

use tch::{TchError, Tensor};

use super::{leaf, scale, values};
use crate::autograd::with_backward;
use crate::error::{Error, Result};

/// The error of a backward pass whose closure does this.
fn error_of(backward: impl Fn(&Tensor, usize) -> Result<Tensor> + Send + Sync + 'static) -> String {
    let x = leaf(&[1.0, 2.0]);
    let y = with_backward([&x], x.detach() * 1.0, backward).unwrap();
    let loss = scale(&y, 2.0).unwrap().sum(None);
    let error = Tensor::f_run_backward(&[&loss], &[&x], false, false).unwrap_err();
    assert!(!x.grad().defined());
    // The next backward pass works.
    scale(&x, 3.0).unwrap().sum(None).backward();
    assert_eq!(values(&x.grad()), [3.0; 2]);
    match error {
        TchError::Torch(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_of_the_closure_is_one_of_the_backward() {
    assert_eq!(
        error_of(|_, _| Err(Error::Probability(1.5))),
        "p must be a probability in [0, 1], got 1.5"
    );
    let text = error_of(|gradient, _| Ok(gradient.f_reshape([3])?));
    assert!(text.contains("shape '[3]' is invalid for input of size 2"), "{text}");
}

#[test]
fn a_panic_in_the_closure_is_an_error_of_the_backward() {
    assert_eq!(error_of(|_, _| panic!("no luck")), "panic in a backward: no luck");
    let with_values = error_of(|gradient, _| panic!("{:?}\0é", gradient.size()));
    assert_eq!(with_values, "panic in a backward: [2]");
    let without_text = error_of(|_, _| std::panic::panic_any(5));
    assert_eq!(without_text, "panic in a backward: it has no text");
}

#[test]
fn a_gradient_must_have_its_inputs_shape() {
    let text = error_of(|_, _| Ok(Tensor::from_slice(&[1.0, 2.0, 3.0])));
    assert!(text.contains("invalid gradient at index 0 - got [3] but expected shape"), "{text}");
}

#[test]
fn an_output_that_libtorch_does_not_take_is_an_error() {
    let x = leaf(&[1.0]);
    let error = with_backward([&x], Tensor::new(), |_, _| unreachable!()).unwrap_err();
    assert!(matches!(error, Error::Torch(TchError::Torch(text)) if !text.is_empty()));
}
