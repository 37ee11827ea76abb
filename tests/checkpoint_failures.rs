//! A segment that cannot be run again as it was is an error, of the call or of the backward pass, and never a wrong
//! gradient without a word.
#![cfg(recompute)]

mod common;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{alone, elements, float, panic_text};
use tch::nn::ModuleT;
use tch::{TchError, Tensor};
use tch_dropout::{Checkpoint, CheckpointError, Error, checkpoint, f_checkpoint};

fn leaf(size: &[i64]) -> Tensor {
    Tensor::randn(size, float()).set_requires_grad(true)
}

/// The error of a backward pass, after which another one works.
#[track_caller]
fn error_of(y: &Tensor) -> String {
    let error = y.sum(None).f_backward().expect_err("this should fail");
    let x = leaf(&[2]);
    assert!(!(x.detach() * 2.0).requires_grad());
    checkpoint(|x| x.square(), &x).sum(None).backward();
    assert_eq!(x.grad(), x.detach() * 2.0);
    match error {
        TchError::Torch(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Does one thing the first time, and another the second.
fn changing(
    first: impl Fn(&Tensor) -> Tensor + Send + 'static,
    then: impl Fn(&Tensor) -> Tensor + Send + 'static,
) -> impl Fn(&Tensor) -> Tensor + Send + 'static {
    let calls = AtomicUsize::new(0);
    move |x| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => first(x),
        _ => then(x),
    }
}

#[test]
fn a_segment_must_do_the_same_again() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    let draws = |times| {
        let layer = elements(0.3).with_seed(1);
        move |x: &Tensor| (0..times).fold(x * 1.0, |x, _| layer.forward_t(&x, true))
    };
    let start = "a segment must do the same each time, but when it was run again, ";
    let assert_fails = |y: Tensor, rest: &str| {
        let text = error_of(&y);
        assert!(text.ends_with(&format!("{start}{rest}")), "{text}");
    };
    assert_fails(checkpoint(changing(draws(2), draws(3)), &x), "it drew more masks");
    assert_fails(checkpoint(changing(draws(2), draws(1)), &x), "it drew fewer masks");
    assert_fails(checkpoint(changing(draws(1), draws(0)), &x), "it drew fewer masks");

    let other = "its output had another kind or shape";
    assert_fails(checkpoint(changing(|x| x * 2.0, |x| x.narrow(0, 0, 2)), &x), other);
    assert_fails(checkpoint(changing(|x| x * 2.0, |x| x.to_kind(tch::Kind::Double)), &x), other);

    let [a, b] = [leaf(&[5]), leaf(&[5])];
    let times = |w: &Tensor| {
        let w = w.shallow_clone();
        move |x: &Tensor| x * &w
    };
    let other = "it used other parameters";
    assert_fails(checkpoint(changing(times(&a), times(&b)), &x), other);
    assert_fails(checkpoint(changing(times(&a), |x| x * 2.0), &x), other);
    assert_fails(checkpoint(changing(|x| x * 2.0, times(&a)), &x), other);
    assert!(!a.grad().defined() && !b.grad().defined());
}

/// The inner one's gradient would be missing, or be counted twice.
#[test]
fn a_tensor_with_a_history_must_be_an_input() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[4, 5]));
    let memory = w.exp();
    let captured = memory.shallow_clone();
    let error = f_checkpoint(move |x| Ok(x * &captured), &x).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the segment uses a tensor that was computed outside of it (by ExpBackward0): make it an \
         input, or detach it"
    );
    assert!(matches!(error, Error::Checkpoint(CheckpointError::Captured(_))));
    // Also if the graph meets it by another way, and if it is the output.
    let captured = memory.shallow_clone();
    assert!(f_checkpoint(move |x| Ok((x + 1.0) * captured.tanh()), &x).is_err());
    let captured = memory.shallow_clone();
    assert!(f_checkpoint(move |_| Ok(captured.shallow_clone()), &x).is_err());

    let captured = memory.detach();
    checkpoint(move |x| x * &captured, &x).sum(None).backward();
    assert_eq!(x.grad(), memory.detach());
    // Where nothing is recorded, it is no matter.
    let captured = memory.shallow_clone();
    let _ = tch::no_grad(|| checkpoint(move |x| x * &captured, &x));
}

#[test]
fn what_is_modified_before_the_backward_pass_is_noticed() {
    let _alone = alone();
    let modified = "needed for gradient computation has been modified by an inplace operation";
    let w = leaf(&[5]);
    let run = |x: &Tensor| {
        let w = w.shallow_clone();
        checkpoint(move |x| x * &w, x)
    };
    let inner = leaf(&[4, 5]) * 1.0;
    for mut written in [w.shallow_clone(), inner.detach()] {
        let y = run(&inner);
        let _ = tch::no_grad(|| written.fill_(3.0));
        let text = error_of(&y);
        assert!(text.contains(modified), "{text}");
    }
    // Between forward passes it may be.
    run(&inner).sum(None).backward();
    let _ = tch::no_grad(|| w.shallow_clone().fill_(4.0));
    run(&inner).sum(None).backward();
}

#[test]
fn a_segment_must_not_modify_its_input() {
    let _alone = alone();
    let (x, w) = (Tensor::randn([4, 5], float()), leaf(&[5]));
    let run = move |x: &Tensor| Ok(x.shallow_clone().f_relu_()? * &w);
    assert!(matches!(
        f_checkpoint(run, &x),
        Err(Error::Checkpoint(CheckpointError::ModifiesInput))
    ));
    // libtorch notices it where the input needs a gradient.
    assert!(f_checkpoint(|x| Ok(x.shallow_clone().f_relu_()?), &(leaf(&[2]) * 1.0)).is_err());
}

/// The inputs are freed, as libtorch's own operations free theirs.
#[test]
fn a_graph_that_is_not_kept_is_used_once() {
    let _alone = alone();
    let y = checkpoint(|x| x.square(), &leaf(&[3])).sum(None);
    y.backward();
    let text = y.f_backward().unwrap_err().to_string();
    assert!(text.contains("Trying to backward through the graph a second time"), "{text}");
}

#[test]
fn there_is_no_second_derivative() {
    let _alone = alone();
    let x = leaf(&[3]);
    let y = checkpoint(|x| x.square(), &x);
    let error = Tensor::f_run_backward(&[y.sum(None)], &[&x], true, true).unwrap_err();
    let TchError::Torch(text) = error else { panic!("{error:?}") };
    assert_eq!(
        text,
        "a checkpoint has no second derivative: run the backward pass without create_graph, or the \
         segment without a checkpoint"
    );
    // The same graph still works.
    y.sum(None).backward();
    assert_eq!(x.grad(), x.detach() * 2.0);
}

#[test]
fn errors_and_panics_are_those_of_the_run() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    // At first,
    let error = f_checkpoint(|x| Ok(x.f_reshape([3])?), &x).unwrap_err().to_string();
    assert!(error.contains("shape '[3]' is invalid for input of size 20"), "{error}");
    let shared = x.shallow_clone();
    let text = panic_text(move || drop(checkpoint(|_| panic!("no luck"), &shared)));
    assert_eq!(text, "no luck");
    // and when it is run again.
    let y = checkpoint(changing(|x| x * 2.0, |_| panic!("no luck")), &x);
    assert_eq!(error_of(&y), "panic in a backward: no luck");
    let calls = AtomicUsize::new(0);
    let fails = move |x: &Tensor| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(x * 2.0),
        _ => Err(Error::Probability(1.5)),
    };
    let y = f_checkpoint(fails, &x).unwrap();
    assert_eq!(error_of(&y), "p must be a probability in [0, 1], got 1.5");
    assert!(!x.grad().defined());
}

/// A layer after a run that ended in a panic belongs to no segment.
#[test]
fn a_panic_ends_the_run() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    let layer = Arc::new(elements(0.3).with_seed(1));
    let shared = Arc::clone(&layer);
    let then = move |x: &Tensor| -> Tensor {
        let _ = shared.forward_t(x, true);
        panic!("no luck")
    };
    let shared = Arc::clone(&layer);
    let y = checkpoint(changing(move |x| shared.forward_t(x, true), then), &x);
    assert!(y.sum(None).f_backward().is_err());
    let fresh = elements(0.3).with_seed(1);
    let _ = fresh.forward_t(&x, true);
    assert_eq!(layer.forward_t(&x, true), fresh.forward_t(&x, true));
}

/// A generator that was set back for a segment is where it was, also after a panic.
#[test]
fn a_panic_leaves_libtorchs_generator_where_it_was() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    tch::manual_seed(1);
    let y = checkpoint(changing(|x| x * x.rand_like(), |_| panic!("no luck")), &x);
    let _ = Tensor::rand([5], float());
    assert!(y.sum(None).f_backward().is_err());
    let found = Tensor::rand([5], float());
    tch::manual_seed(1);
    let _ = (Tensor::rand([4, 5], float()), Tensor::rand([5], float()));
    assert_eq!(found, Tensor::rand([5], float()));
}

/// In place of waiting forever.
#[test]
fn a_thread_that_holds_the_module() {
    let _alone = alone();
    let locked = "this thread holds the lock of the checkpoint's module, for which it would wait forever: drop what \
                  `lock()` returned first";
    let block = Checkpoint::new(elements(0.1));
    let other = Checkpoint::new(elements(0.1));
    let x = leaf(&[4, 5]);
    let y = block.forward_t(&x, true);

    let held = block.lock();
    held.set_p(0.2).unwrap();
    assert_eq!(
        format!("{block:?}, {held:?}"),
        "Checkpoint(<locked>), TrueDropout(p=0.2, elements)"
    );
    for call in [
        &(|| drop(block.forward_t(&x, true))) as &dyn Fn(),
        &|| drop(block.clone().forward_t(&x, false)),
        &|| drop(block.lock()),
    ] {
        assert_eq!(panic_text(std::panic::AssertUnwindSafe(call)), locked);
    }
    if x.device() == tch::Device::Cpu {
        assert!(error_of(&y).ends_with(locked));
    }
    // Another module, and another thread, are free.
    other.forward_t(&x, true).sum(None).backward();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block.clone().lock().p());
        drop(held);
        assert_eq!(waiting.join().unwrap(), 0.2);
    });
    block.forward_t(&x, true).sum(None).backward();
}

/// A layer that is called but has nothing to draw for leaves its mask behind.
#[test]
fn an_input_that_is_empty_when_a_segment_is_run_again_draws_fewer_masks() {
    let _alone = alone();
    let layer = Arc::new(elements(0.3).with_seed(1));
    let shared = Arc::clone(&layer);
    let of_all = move |x: &Tensor| shared.forward_t(x, true);
    let of_none = move |x: &Tensor| {
        let none = layer.forward_t(&x.narrow(0, 0, 0), true);
        Tensor::cat(&[none, x * 1.0], 0)
    };
    let text = error_of(&checkpoint(changing(of_all, of_none), &leaf(&[4, 5])));
    assert!(text.ends_with("it drew fewer masks"), "{text}");
}

/// A segment that drew nothing from libtorch's generator does not set it back: what is drawn from it in that moment is
/// new.
#[test]
fn a_generator_that_a_segment_did_not_move_stays_where_it_is() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    let rand = || Vec::<f32>::try_from(Tensor::rand([5], float())).unwrap();
    tch::manual_seed(1);
    let expected = [rand(), rand(), rand()];
    tch::manual_seed(1);
    let meanwhile = Arc::new(std::sync::Mutex::new(Vec::new()));
    let found = Arc::clone(&meanwhile);
    let again = move |x: &Tensor| {
        *found.lock().unwrap() = rand();
        x * 2.0
    };
    let y = checkpoint(changing(|x| x * 2.0, again), &x);
    let before = rand();
    y.sum(None).backward();
    let meanwhile = meanwhile.lock().unwrap().clone();
    assert_eq!([before, meanwhile, rand()], expected);
}

/// Neither a module nor a segment is lost with the run that panicked.
#[test]
fn after_a_panic_a_segment_can_be_run_again() {
    let _alone = alone();
    let x = leaf(&[4, 5]);
    let calls = AtomicUsize::new(0);
    let panics_at_first =
        tch::nn::func_t(move |x, _| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("no luck"),
            _ => x * 2.0,
        });
    let module = Checkpoint::new(panics_at_first);
    let (shared, input) = (module.clone(), x.shallow_clone());
    assert_eq!(
        panic_text(AssertUnwindSafe(move || drop(shared.forward_t(&input, true)))),
        "no luck"
    );
    assert_eq!(module.forward_t(&x, true), &x * 2.0);

    let calls = AtomicUsize::new(0);
    let panics_then = move |x: &Tensor| match calls.fetch_add(1, Ordering::Relaxed) {
        1 => panic!("no luck"),
        _ => x * 2.0,
    };
    let loss = checkpoint(panics_then, &x).sum(None);
    let backward = || Tensor::f_run_backward(&[&loss], &[&x], true, false);
    let error = backward().unwrap_err().to_string();
    assert!(error.contains("no luck"), "{error}");
    assert_eq!(backward().unwrap()[0], x.detach().full_like(2.0));
}
