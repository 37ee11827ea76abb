//! What PyTorch expects of dropout outside `test/nn/test_dropout.py`, checked on ours. Most of it draws from
//! libtorch's generator, which belongs to the whole process, so that one test runs at a time.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `test_utils.py`, `test_checkpoint_rng_cpu` | `a_recomputed_forward_gives_the_same_gradient` |
//! | its CUDA twin | a seed gives the same mask on a GPU: tests/cuda.rs |
//! | `test_jit.py`, `test_dropout_module_requires_grad` and `_func_`: a draw in training only | `training_draws_whether_or_not_a_gradient_is_recorded` |
//! | `test_jit.py`, `test_dropout`: a trace draws anew | tests/tracing.rs |
//! | `test_jit.py`, `test_dropout_cuda` | `corner_cases_are_libtorchs_gradients_too`; edges on a GPU: tests/cuda.rs |
//! | OpInfo samples, gradcheck and gradgradcheck | `first_and_second_derivatives_agree_with_differences` |
//! | OpInfo, floating-point kinds only | ours takes more: tests/kinds.rs |
//! | OpInfo, forward-mode derivatives and vmap | `tch` has neither, except for libtorch's internals |
//! | inductor's `test_dropout_trivial_0` and `_1` | `all_or_nothing_added_to_the_input` |
//! | inductor's `test_dropout`: count and mean of 1000 ones | `half_of_a_thousand_ones_are_kept` |
//! | inductor's `test_dropout_deterministic` | `one_seed_three_forwards_twice` |
//! | inductor's `test_dropout2`: mean, gradient, evaluation, a seed | `output_and_gradient_drop_the_same_elements` |
//! | inductor's `test_dropout2` and `3`: how many kernels, how many draws in them | a compiler's matter |

mod common;

use common::{
    alone, assert_binomial, assert_same_bits, count_kept, device, elements, float, gradient,
    nonzero,
};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::Stream;

/// Checkpointing: a forward keeps nothing, and is run again when its gradient is asked for. A layer with
/// a seed goes back to the step it had.
#[test]
fn a_recomputed_forward_gives_the_same_gradient() {
    let _alone = alone();
    let data = nonzero(&[20_000]);
    let phases = || (elements(0.5).with_seed(1), elements(0.5).with_seed(2));
    let expected = {
        let (first, second) = phases();
        let x = data.detach().set_requires_grad(true);
        second.forward_t(&first.forward_t(&x, true), true).sin().sum(Kind::Float).backward();
        x.grad()
    };

    let (first, second) = phases();
    let x = data.detach().set_requires_grad(true);
    let between = first.forward_t(&x, true);
    let step = second.stream().map(Stream::step).unwrap();
    let y = tch::no_grad(|| second.forward_t(&between, true));

    let checkpoint = between.detach().set_requires_grad(true);
    second.stream().unwrap().set_step(step).unwrap();
    let recomputed = second.forward_t(&checkpoint, true);
    assert_same_bits(&recomputed.detach(), &y);
    recomputed.sin().sum(Kind::Float).backward();
    (between * checkpoint.grad()).sum(Kind::Float).backward();
    assert_same_bits(&x.grad(), &expected);
    assert_binomial(count_kept(&expected), 20_000.0, 0.25);
}

#[test]
fn training_draws_whether_or_not_a_gradient_is_recorded() {
    let _alone = alone();
    let drawn_after = |before: &dyn Fn()| {
        tch::manual_seed(5);
        before();
        Tensor::rand([4], float())
    };
    let untouched = drawn_after(&|| ());
    let forward = |requires_grad, train| {
        let x = nonzero(&[10, 10]).set_requires_grad(requires_grad);
        drawn_after(&|| drop(elements(0.5).forward_t(&x, train)))
    };
    for requires_grad in [false, true] {
        assert_ne!(forward(requires_grad, true), untouched);
        assert_same_bits(&forward(requires_grad, false), &untouched);
    }
    assert_same_bits(&forward(true, true), &forward(false, true));
}

/// Along a random direction, in f64, of a function that is not linear in the layer's output.
#[test]
fn first_and_second_derivatives_agree_with_differences() {
    let _alone = alone();
    const STEP: f64 = 1e-5;
    let options = (Kind::Double, device());
    for size in [&[][..], &[5], &[5, 5]] {
        for (p, train) in [(0.0, true), (0.5, true), (1.0, true), (0.5, false)] {
            let loss =
                |x: &Tensor| elements(p).with_seed(3).forward_t(x, train).sin().sum(Kind::Double);
            let leaf_and_gradient = |x: &Tensor| {
                let x = x.detach().set_requires_grad(true);
                let gradient = gradient(&loss(&x), &x);
                (x, gradient)
            };
            let (data, direction) = (Tensor::randn(size, options), Tensor::randn(size, options));
            let (ahead, behind) = (&data + &direction * STEP, &data - &direction * STEP);
            let (x, first) = leaf_and_gradient(&data);
            let along = (&first * &direction).sum(Kind::Double);
            let difference = (loss(&ahead) - loss(&behind)) / (2.0 * STEP);
            assert!(along.allclose(&difference, 1e-6, 1e-6, false), "{along} and {difference}");

            let second = gradient(&along, &x);
            let difference =
                (leaf_and_gradient(&ahead).1 - leaf_and_gradient(&behind).1) / (2.0 * STEP);
            assert!(second.allclose(&difference, 1e-6, 1e-6, false), "{second} and {difference}");
        }
    }
}

#[test]
fn all_or_nothing_added_to_the_input() {
    let _alone = alone();
    let x = Tensor::randn([55], float());
    assert_same_bits(&(elements(0.0).forward_t(&x, true) + &x), &(&x + &x));
    assert_same_bits(&(elements(1.0).forward_t(&x, true) + &x), &x);
}

#[test]
fn half_of_a_thousand_ones_are_kept() {
    let _alone = alone();
    let y = elements(0.5).forward_t(&Tensor::ones([1000], float()), true);
    assert_binomial(count_kept(&y), 1000.0, 0.5);
    assert_eq!(y.mean(Kind::Double).double_value(&[]), 2.0 * count_kept(&y) / 1000.0);
}

#[test]
fn one_seed_three_forwards_twice() {
    let _alone = alone();
    let x = Tensor::ones([1024], float());
    let layer = elements(0.55);
    let three = || {
        tch::manual_seed(1234);
        [(); 3].map(|()| layer.forward_t(&x, true))
    };
    let (first, again) = (three(), three());
    first.iter().zip(&again).for_each(|(a, b)| assert_same_bits(a, b));
    assert_ne!(first[0], first[1]);
    assert_ne!(first[1], first[2]);
}

#[test]
fn output_and_gradient_drop_the_same_elements() {
    let _alone = alone();
    let (n, p) = (100_000, 0.33);
    let (x, weight) =
        (Tensor::ones([n], float()), Tensor::ones([n], float()).set_requires_grad(true));
    let run = |train| {
        tch::manual_seed(1234);
        let y = elements(p).forward_t(&(&x * &weight), train);
        (y.detach(), gradient(&y.sum(Kind::Float), &weight))
    };
    let (evaluated, slope) = run(false);
    assert_same_bits(&evaluated, &x);
    assert_same_bits(&slope, &x);

    let ((y, slope), again) = (run(true), run(true));
    assert_same_bits(&y, &slope);
    assert_binomial(count_kept(&y), n as f64, 1.0 - p);
    assert!((y.max().double_value(&[]) - 1.0 / (1.0 - p)).abs() < 1e-6);
    assert_same_bits(&again.0, &y);
    assert_same_bits(&again.1, &slope);
}

#[test]
fn corner_cases_are_libtorchs_gradients_too() {
    let _alone = alone();
    for (p, train) in [(0.0, true), (1.0, true), (0.0, false), (1.0, false)] {
        let data = Tensor::randn([5], float());
        let run = |forward: &dyn Fn(&Tensor) -> Tensor| {
            let x = data.detach().set_requires_grad(true);
            let y = forward(&x);
            (y.detach(), gradient(&y.sum(Kind::Float), &x))
        };
        let ours = run(&|x| elements(p).forward_t(x, train));
        for theirs in [run(&|x| x.dropout(p, train)), run(&|x| x.native_dropout(p, train).0)] {
            assert_eq!(ours, theirs);
        }
    }
}
