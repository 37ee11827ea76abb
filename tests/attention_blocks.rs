//! Attention in blocks of queries is the definition: at every place of the mask, in the last block too, for each
//! input's gradient, on any number of threads.
#![cfg(recompute)]

mod common;

use std::sync::atomic::Ordering;

use common::{assert_close, assert_same_bits, device, gradient, seeded};
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{Attention, NoiseShape, TrueDropout, WEIGHTS_OF_A_BLOCK, checkpoint_many};

const P: f64 = 0.3;

/// With blocks of at most this many weights.
fn with_blocks<T>(weights: usize, run: impl FnOnce() -> T) -> T {
    let before = WEIGHTS_OF_A_BLOCK.swap(weights, Ordering::Relaxed);
    let result = run();
    WEIGHTS_OF_A_BLOCK.store(before, Ordering::Relaxed);
    result
}

/// No head has as many weights, so that the definition computes it.
const DEFINITION: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Case {
    leading: &'static [i64],
    queries: i64,
    keys: i64,
    causal: bool,
    lower_right: bool,
    /// The size of a bias.
    bias: Option<&'static [i64]>,
    /// How many weights a block has.
    block: usize,
}

/// Heads begin within a tile of 2048 weights, and so do blocks, of which the last has fewer queries.
const CASES: [Case; 13] = {
    let case = Case {
        leading: &[2, 3],
        queries: 71,
        keys: 90,
        causal: false,
        lower_right: false,
        bias: None,
        block: 7 * 90,
    };
    [
        case,
        Case { causal: true, ..case },
        Case { keys: 40, causal: true, ..case },
        Case { leading: &[], ..case },
        Case { bias: Some(&[71, 90]), ..case },
        Case { bias: Some(&[3, 1, 90]), causal: true, ..case },
        Case { bias: Some(&[2, 1, 71, 1]), ..case },
        Case { lower_right: true, ..case },
        // The first 31 queries see no key: whole blocks, and one in part.
        Case { lower_right: true, keys: 40, ..case },
        Case { lower_right: true, keys: 1, ..case },
        Case { lower_right: true, keys: 40, bias: Some(&[2, 1, 71, 1]), ..case },
        // Several tiles in a row, of which a causal block has the first ones only.
        Case { leading: &[17], queries: 10, keys: 5000, causal: true, block: 3 * 1024, ..case },
        // As large as users have it.
        Case { leading: &[1], queries: 300, keys: 1100, causal: true, block: 1 << 16, ..case },
    ]
};

impl Case {
    /// Query, key, value, and a bias if there is one.
    fn inputs(self, kind: Kind) -> Vec<Tensor> {
        let random = |size: &[i64]| Tensor::randn(size, (kind, device())).set_requires_grad(true);
        let of = |dims: [i64; 2]| random(&[self.leading, &dims].concat());
        let inputs = [of([self.queries, 8]), of([self.keys, 8]), of([self.keys, 5])];
        inputs.into_iter().chain(self.bias.map(random)).collect()
    }

    fn forward(self, inputs: &[Tensor]) -> Tensor {
        let layer = Attention::new(P).unwrap().with_causal(self.causal).with_seed(7);
        let layer = if self.lower_right { layer.with_causal_lower_right(true) } else { layer };
        layer.forward(&inputs[0], &inputs[1], &inputs[2], inputs.get(3), true)
    }

    /// The result, and the gradients.
    fn all(self, block: usize, inputs: &[Tensor]) -> Vec<Tensor> {
        with_blocks(block, || {
            let y = self.forward(inputs);
            let loss = y.sin().sum(Kind::Double);
            // Without a second derivative, which the definition gives.
            let gradients = Tensor::run_backward(&[loss], inputs, false, false);
            [y].into_iter().chain(gradients).collect()
        })
    }
}

#[test]
fn blocks_give_what_the_definition_gives() {
    let _generator = seeded();
    for case in CASES {
        let inputs = case.inputs(Kind::Double);
        let (found, expected) = (case.all(case.block, &inputs), case.all(DEFINITION, &inputs));
        println!("{case:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected, 1e-12);
        }
    }
}

#[test]
fn half_precision_is_rounded_at_the_end() {
    let _generator = seeded();
    for case in CASES {
        for (kind, tolerance) in [(Kind::Float, 1e-4), (Kind::Half, 0.02), (Kind::BFloat16, 0.15)] {
            let inputs = case.inputs(kind);
            let wide: Vec<_> = inputs
                .iter()
                .map(|x| x.detach().to_kind(Kind::Double).set_requires_grad(true))
                .collect();
            let (found, expected) = (case.all(case.block, &inputs), case.all(DEFINITION, &wide));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.kind(), kind);
                let scale = expected.abs().max().double_value(&[]).max(1.0);
                assert_close(&found.to_kind(Kind::Double), expected, tolerance * scale);
            }
        }
    }
}

/// Sums are added in the same order on each. (With one, a product may be rounded another way: it is not in a parallel
/// region. And the gradient of a bias is computed by libtorch's own threads.)
#[test]
fn two_threads_or_three_give_the_same_bits() {
    if device() != Device::Cpu {
        return;
    }
    let _generator = seeded();
    let threads = tch::get_num_threads();
    for case in CASES.into_iter().filter(|case| case.bias.is_none()) {
        let inputs = case.inputs(Kind::Double);
        let [two, three] = [2, 3].map(|threads| {
            tch::set_num_threads(threads);
            case.all(case.block, &inputs)
        });
        tch::set_num_threads(threads);
        two.iter().zip(&three).for_each(|(two, three)| assert_same_bits(two, three));
    }
}

#[test]
fn gradients_that_are_not_needed_are_not_computed() {
    let _generator = seeded();
    let case = CASES[4];
    let inputs = case.inputs(Kind::Double);
    let expected = case.all(DEFINITION, &inputs);
    for wanted in 0..inputs.len() {
        let only: Vec<_> =
            (0..).zip(&inputs).map(|(i, x)| x.detach().set_requires_grad(i == wanted)).collect();
        let found = with_blocks(case.block, || {
            let loss = case.forward(&only).sin().sum(Kind::Double);
            Tensor::run_backward(&[loss], &only[wanted..=wanted], false, false)
        });
        assert_close(&found[0], &expected[wanted + 1], 1e-12);
    }
}

/// One input may have been computed from another, and the result's gradient from the result.
#[test]
fn second_derivatives_are_those_of_the_definition() {
    let _generator = seeded();
    let case = Case { leading: &[2], queries: 9, keys: 9, causal: true, ..CASES[0] };
    let x = Tensor::randn([2, 9, 8], (Kind::Double, device())).set_requires_grad(true);
    let second = |block| {
        with_blocks(block, || {
            let inputs = [x.shallow_clone(), &x * 0.5, x.tanh()];
            let first = gradient(&case.forward(&inputs).square().sum(Kind::Double), &x);
            [gradient(&first.square().sum(Kind::Double), &x), first]
        })
    };
    let (found, expected) = (second(20), second(DEFINITION));
    found.iter().zip(&expected).for_each(|(found, expected)| assert_close(found, expected, 1e-11));
}

#[test]
fn a_checkpoint_draws_the_same_mask_again() {
    let _generator = seeded();
    let case = CASES[1];
    let inputs = case.inputs(Kind::Double);
    let expected = case.all(case.block, &inputs);
    let found = with_blocks(case.block, || {
        let forward = move |[query, key, value]: [&Tensor; 3]| {
            case.forward(&[query, key, value].map(Tensor::shallow_clone))
        };
        let y = checkpoint_many(forward, [&inputs[0], &inputs[1], &inputs[2]]);
        let loss = y.sin().sum(Kind::Double);
        let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        [y].into_iter().chain(gradients).collect::<Vec<_>>()
    });
    found.iter().zip(&expected).for_each(|(found, expected)| assert_same_bits(found, expected));
}

/// The graph keeps the inputs as libtorch's operations do.
#[test]
fn an_input_that_is_modified_before_the_backward_pass_is_an_error() {
    let _generator = seeded();
    let inputs = CASES[0].inputs(Kind::Double);
    let y = with_blocks(CASES[0].block, || CASES[0].forward(&inputs));
    let _ = tch::no_grad(|| inputs[1].shallow_clone().fill_(0));
    let error = y.sum(Kind::Double).f_backward().unwrap_err().to_string();
    assert!(error.contains("modified by an inplace operation"), "{error}");
}

/// Whether a query in a batch sees itself only, or all keys, its place in memory is that of its index.
#[test]
fn inputs_may_lie_in_memory_in_any_order() {
    let _generator = seeded();
    let case = CASES[1];
    let contiguous = case.inputs(Kind::Double);
    let transposed: Vec<_> = contiguous
        .iter()
        .map(|x| x.detach().transpose(1, 2).contiguous().transpose(1, 2).set_requires_grad(true))
        .collect();
    let (found, expected) = (case.all(case.block, &transposed), case.all(case.block, &contiguous));
    found.iter().zip(&expected).for_each(|(found, expected)| assert_same_bits(found, expected));
}

/// Flax's default: one mask for the whole batch and all heads.
#[test]
fn a_mask_that_is_shared_is_left_to_the_definition() {
    let _generator = seeded();
    let case = CASES[0];
    let inputs = case.inputs(Kind::Double);
    let shared = NoiseShape::Shared(vec![0, 1]);
    let layer = Attention::new(P).unwrap().with_seed(7).with_noise_shape(shared.clone());
    let y =
        with_blocks(case.block, || layer.forward(&inputs[0], &inputs[1], &inputs[2], None, true));
    let scores = inputs[0].matmul(&inputs[1].transpose(-2, -1)) / 8f64.sqrt();
    let dropout = TrueDropout::elements(P).unwrap().with_seed(7).with_noise_shape(shared);
    let expected = dropout.forward_t(&scores.softmax(-1, None), true).matmul(&inputs[2]);
    assert_close(&y, &expected, 1e-12);
}

/// An infinite input is an error of the model's, and must not be hidden.
#[test]
fn a_query_whose_scores_are_all_infinite_finds_nan() {
    for causal in [false, true] {
        let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, device()));
        let [query, key, value] = [ones(&[20, 8]), ones(&[30, 8]), ones(&[30, 5])];
        let _ = query.get(3).fill_(f64::NEG_INFINITY);
        let layer = Attention::new(P).unwrap().with_causal(causal).with_seed(7);
        for block in [DEFINITION, 64] {
            let y = with_blocks(block, || layer.forward(&query, &key, &value, None, true));
            let is_nan = y.isnan().any_dim(-1, false);
            let rows = Vec::<bool>::try_from(is_nan).unwrap();
            assert!(
                rows.iter().enumerate().all(|(row, &nan)| nan == (row == 3)),
                "{causal}, {block}"
            );
        }
    }
}
