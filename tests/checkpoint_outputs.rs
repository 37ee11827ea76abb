//! Checkpoints of segments with several outputs.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{assert_same_bits, device, elements, nonzero, seeded};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{Error, RnnT, TrueDropout, checkpoint_outputs, f_checkpoint_outputs, gru};

/// Outputs and gradients of a segment, with a checkpoint and without. `used` says which outputs a loss has.
#[track_caller]
fn assert_same<const M: usize>(
    segment: impl Fn(&Tensor) -> [Tensor; M] + Clone + Send + 'static,
    x: &Tensor,
    parameters: &[Tensor],
    used: [bool; M],
) {
    let wanted: Vec<&Tensor> = [x].into_iter().chain(parameters).collect();
    let run = |outputs: &dyn Fn() -> [Tensor; M]| {
        tch::manual_seed(1);
        let outputs = outputs();
        let parts = outputs.iter().zip(used).filter(|(_, used)| *used);
        let loss = parts
            .map(|(y, _)| y.to_kind(Kind::Double).square().sum(None))
            .reduce(|a, b| a + b)
            .unwrap();
        (outputs, Tensor::run_backward(&[loss], &wanted, false, false))
    };
    let (plain, of_plain) = run(&|| segment(x));
    let (found, of_found) = run(&|| {
        let segment = segment.clone();
        checkpoint_outputs(move |[x]| segment(x), [x])
    });
    for (a, b) in found.iter().chain(&of_found).zip(plain.iter().chain(&of_plain)) {
        assert_same_bits(a, b);
    }
}

#[test]
fn outputs_and_gradients_are_those_of_the_plain_run() {
    let _generator = seeded();
    let x = nonzero(&[6, 8]).set_requires_grad(true);
    let segment = |x: &Tensor| {
        let y = elements(0.5).forward_t(&x.tanh(), true);
        let rows = y.sum_dim_intlist([1].as_slice(), false, None);
        [
            &y * 2.0,
            rows.to_kind(Kind::Double),
            y.narrow(0, 0, 0),
            rows.sum(None).to_kind(Kind::Half),
        ]
    };
    assert_same(segment, &x, &[], [true, true, false, true]);
    assert_same(segment, &x, &[], [false, true, false, false]);
    // One that would need no gradient by itself passes none on.
    let half = |x: &Tensor| [elements(0.5).forward_t(&x.tanh(), true), x.detach() * 2.0];
    assert_same(half, &x, &[], [true, true]);
}

/// A layer that returns its outputs and its state, with its parameters.
#[test]
fn a_recurrent_layers_outputs_and_state() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let layer = std::sync::Arc::new(std::sync::Mutex::new(
        gru(vs.root(), 8, 5, Default::default()).unwrap(),
    ));
    let x = nonzero(&[3, 4, 8]).set_requires_grad(true);
    let segment = move |x: &Tensor| {
        let (y, state) = layer.lock().unwrap().seq_t(x, true);
        [y, state.value()]
    };
    assert_same(segment, &x, &vs.trainable_variables(), [true, true]);
}

/// As many numbers, which would be taken for others.
#[test]
fn other_shapes_in_the_second_run_are_an_error() {
    let _generator = seeded();
    if cfg!(not(recompute)) {
        return;
    }
    let is_again = AtomicBool::new(false);
    let segment = move |[x]: [&Tensor; 1]| {
        let rows = if is_again.swap(true, Ordering::Relaxed) { 1 } else { 2 };
        let y = x.tanh();
        [y.narrow(0, 0, rows), y.narrow(0, rows, 3 - rows)]
    };
    let x = nonzero(&[3, 4]).set_requires_grad(true);
    let [first, second] = checkpoint_outputs(segment, [&x]);
    assert_eq!((first.size(), second.size()), (vec![2, 4], vec![1, 4]));
    let error = first.sum(None).f_backward().unwrap_err().to_string();
    assert!(error.contains("its outputs had other kinds or shapes"), "{error}");
}

#[test]
fn what_has_no_gradient_is_an_error() {
    let _generator = seeded();
    let x = nonzero(&[6, 8]).set_requires_grad(true);
    let with_index = |[x]: [&Tensor; 1]| Ok([x.f_tanh()?, x.f_argmax(1, false)?]);
    assert!(matches!(f_checkpoint_outputs(with_index, [&x]), Err(Error::Kind(Kind::Int64))));
    let error =
        f_checkpoint_outputs(|[x]| Ok([TrueDropout::elements(2.0)?.forward_t(x, true)]), [&x]);
    assert!(matches!(error, Err(Error::Probability(_))));
}
