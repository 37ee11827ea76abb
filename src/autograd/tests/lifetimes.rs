//! A closure is dropped once, with the graph.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tch::{Kind, Tensor};

use super::{leaf, values};
use crate::autograd::with_backward;
use crate::error::{Error, Result};

/// Counts its drops.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The output of a closure that holds a guard, and how often that was dropped.
fn guarded(x: &Tensor, y: Tensor) -> (Result<Tensor>, impl Fn() -> usize + use<>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = Guard(Arc::clone(&drops));
    let y = with_backward([x], y, move |gradient, _| {
        let _ = &guard;
        Ok(gradient * 2.0)
    });
    (y, move || drops.load(Ordering::SeqCst))
}

#[test]
fn the_graph_holds_the_closure_until_it_is_dropped() {
    for backwards in 0..3 {
        let x = leaf(&[1.0]);
        let (y, drops) = guarded(&x, x.detach() * 1.0);
        let loss = y.unwrap().sum(Kind::Double);
        for _ in 0..backwards {
            loss.backward();
        }
        assert_eq!(drops(), 0);
        drop(loss);
        assert_eq!(drops(), 1);
        drop(x);
        assert_eq!(drops(), 1);
    }
}

#[test]
fn a_failed_backward_drops_the_closure_once() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x, x.detach() * 1.0);
    let z = with_backward([&y.unwrap()], x.detach() * 1.0, |_, _| Err(Error::Layers)).unwrap();
    assert!(Tensor::f_run_backward(&[&z], &[&x], false, false).is_err());
    drop(z);
    assert_eq!(drops(), 1);
}

#[test]
fn a_graph_of_a_graph_drops_all_closures() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x, x.detach() * 1.0);
    let y = y.unwrap().square();
    let first = Tensor::run_backward(&[&y], &[&x], true, true).remove(0);
    drop(y);
    assert_eq!(drops(), 0);
    drop(first);
    assert_eq!(drops(), 1);
}

#[test]
fn a_graph_can_be_dropped_on_another_thread() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x, x.detach() * 1.0);
    thread::spawn(move || drop(y)).join().unwrap();
    assert_eq!(drops(), 1);
}

#[test]
fn a_forward_that_fails_drops_the_closure() {
    let (y, drops) = guarded(&leaf(&[1.0]), Tensor::new());
    assert!(y.is_err());
    assert_eq!(drops(), 1);
}

#[test]
fn without_a_gradient_to_come_the_closure_is_dropped_at_once() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x.detach(), x.detach() * 3.0);
    let y = y.unwrap();
    assert_eq!((values(&y), y.requires_grad(), drops()), (vec![3.0], false, 1));

    let (y, drops) = tch::no_grad(|| guarded(&x, x.detach() * 3.0));
    let y = y.unwrap();
    assert_eq!((values(&y), y.requires_grad(), drops()), (vec![3.0], false, 1));

    // Integers have no gradient.
    let (y, drops) = guarded(&x, Tensor::from_slice(&[3]));
    assert_eq!((y.unwrap().requires_grad(), drops()), (false, 1));
}
