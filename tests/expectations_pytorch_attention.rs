//! What PyTorch's `test/test_transformers.py` and `test/nn/test_multihead_attention.py` expect of attention,
//! checked on ours.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `test_transformers.py` | |
//! | `test_scaled_dot_product_attention`: 3 and 4 dimensions, masks, causal, dropout; `.._vs_math_ref_grads` | `given_the_same_dropout_it_is_libtorchs_definition` |
//! | the same: a dropout of 0.2 without training | not here: evaluation drops nothing (pytorch issue 99293), tests/attention.rs |
//! | the same, `test_is_causal_and_mask_fails`: a mask for a causal call is an error | not here: `a_mask_and_causal_go_together` |
//! | the same, `test_sdp_math_gradcheck`, `test_sdpa_backward_with_gradient` | `gradients_are_those_of_finite_differences` |
//! | `test_scaled_dot_product_fused_attention_vs_math_cpu`: kinds, causal, gradients | `without_dropout_it_is_libtorchs` in tests/attention.rs |
//! | `.._mask_vs_math_cpu`, `test_mem_efficient_attention_mask_variants`, `.._non_contiguous_mask` | `a_mask_broadcasts_in_every_dimension` |
//! | `test_fused_inputs_dim_3_cpu` | `three_dimensions_are_a_batch_of_one_in_four` |
//! | `test_scaled_dot_product_fused_attention_gqa_vs_math_cpu`, `test_mqa_singleton_head_broadcast` | `heads_may_be_shared` |
//! | `test_invalid_fused_inputs_broadcast`; OpInfo's sample `broadcast_tuple` | `a_batch_is_expanded_by_the_caller`: an error, since folded passes need the batch |
//! | `test_sdpa_with_inf` | `a_band_of_keys` |
//! | `test_fully_masked_out_rows` | `rows_without_keys_give_0_and_have_no_gradient` |
//! | `test_non_masked_rows_nan_props`, `test_cpu_flash_attn_nan_propagation` | `what_is_not_a_number_stays_so` |
//! | `test_scaled_dot_product_attention_math_with_negative_scale` | `a_large_negative_scale` |
//! | `test_scaled_dot_product_attention_fp16_overflow`, `test_math_backend_high_precision` | `half_precision_has_scores_in_f32` |
//! | `test_sdpa_zero_output`, `test_sdpa_zero_qk_head_dim_matches_eager_attention` | `a_dimension_may_be_empty` |
//! | `test_sdpa_output_shape_uses_value_head_dim` | `values_may_have_another_size` |
//! | `TestAttnBias`: `test_causal_variants`, `test_is_causal_equals_upper_left` | `causal_counts_from_the_upper_left`; the lower right is a mask |
//! | `test_invalid_inputs_different_datatypes`, `.._1_dimensional_inputs`; padding masks of integers | `inputs_that_do_not_fit_are_errors` |
//! | `test_multiheadattention_fastpath_attn_mask`, `test_self_attn_TxT_attn_mask`, `test_encoder_padding_and_src_mask_bool` | `masks_of_each_shape_and_kind` |
//! | `test_train_with_is_causal`, `test_is_causal_gpu`: a layer of ones | `a_layer_of_ones_gives_16` |
//! | `test_train_with_is_causal`: causal without a mask is an error | not here: `causal` makes the mask; same test |
//! | `test_train_with_pad_and_catch_error` | `padding_changes_nothing_in_training` |
//! | `test_bias_is_none`, `test_multihead_attn_no_bias`, `test_multihead_attn_in_proj_bias_none` | `without_biases_there_are_none` |
//! | `TransformerEncoder`, `TransformerDecoder`; nested tensors; which kernel runs on which GPU; fast paths, `torch.compile` | none here |
//! | `test_multihead_attention.py` | |
//! | `test_multihead_attention`: with and without padding | `it_is_its_definition_head_by_head` in tests/multi_head.rs |
//! | the same: the weights that it returns, averaged or not | `identities_as_values_bring_the_weights_out`: by `Attention`; fused kernels have none to return |
//! | the same: `add_bias_kv`, `add_zero_attn`, `static_k` | recipes of the migration page, or none here |
//! | the same: `kdim`, `vdim`; `.._in_proj_weight_none` | tests/multi_head.rs, `keys_and_values_of_other_sizes_have_weights_of_their_own` |
//! | `test_multihead_attn_3d_attn_mask` | `a_mask_for_each_sample` |
//! | `test_multihead_self_attn_two_masks_fast_path` | `two_masks_are_one` |
//! | `test_multihead_attn_invalid_shape`, `.._fast_path_invalid_shape` | `shapes_of_a_batch` |
//! | the same: a mask of one dimension is an error | not here: it broadcasts, as in `scaled_dot_product_attention`; same test |
//! | ModuleInfo's samples: no batch dimension | `shapes_of_a_batch`: an error, since `[T, C]` may as well be `[N, C]`; `unsqueeze(0)` |
//! | `test_multihead_attention_dtype`, `.._dtype_batch_first` | `an_empty_batch_and_kinds` in tests/multi_head.rs |

mod common;

use common::{
    assert_close, assert_same_bits, count_kept, device, elements, float, gradient, nonzero, seeded,
};
use tch::nn::{self, ModuleT};
use tch::{Kind, TchError, Tensor};
use tch_dropout::{
    Attention, Error, MultiHeadAttention, MultiHeadAttentionConfig, multi_head_attention,
};

const SEED: u64 = 7;
const P: f64 = 0.3;

/// A layer that drops the same in its first step, each time that it is made.
fn attention(p: f64) -> Attention {
    Attention::new(p).unwrap().with_seed(SEED)
}

fn forward(layer: &Attention, inputs: &[Tensor; 3], mask: Option<&Tensor>, train: bool) -> Tensor {
    let [query, key, value] = inputs;
    layer.forward(query, key, value, mask, train)
}

fn random(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (kind, device()))
}

fn doubles(sizes: [&[i64]; 3]) -> [Tensor; 3] {
    sizes.map(|size| random(size, Kind::Double))
}

fn ones(size: &[i64]) -> Tensor {
    Tensor::ones(size, (Kind::Bool, device()))
}

fn some(size: &[i64]) -> Tensor {
    Tensor::rand(size, float()).gt(0.5)
}

/// As `some`, but the first key takes part for each query.
fn some_in_each_row(size: &[i64]) -> Tensor {
    let mask = some(size);
    let _ = mask.narrow(-1, 0, 1).fill_(1);
    mask
}

fn is_finite(t: &Tensor) -> bool {
    bool::try_from(t.isfinite().all()).unwrap()
}

/// libtorch's definition of attention, which takes a dropout mask "for testing purposes": PyTorch's tests of
/// dropout in its fused kernels compare with it. Like the fused kernel's function, it has one argument more since
/// libtorch 2.5, and the compiler picks the implementation that fits.
trait Definition<Version> {
    fn with_dropout(self, inputs: &[Tensor; 3], mask: &Tensor, dropout: (f64, &Tensor)) -> Tensor;
}

macro_rules! definition {
    ($version:ident $(, $value:literal: $last:ty)?) => {
        struct $version;
        impl<F> Definition<$version> for F
        where
            F: Fn(
                &Tensor,
                &Tensor,
                &Tensor,
                Option<Tensor>,
                f64,
                bool,
                Option<Tensor>,
                Option<f64>,
                $($last,)?
            ) -> Result<(Tensor, Tensor), TchError>,
        {
            fn with_dropout(
                self,
                [query, key, value]: &[Tensor; 3],
                mask: &Tensor,
                (p, kept): (f64, &Tensor),
            ) -> Tensor {
                let (mask, kept) = (mask.shallow_clone(), kept.shallow_clone());
                self(query, key, value, Some(mask), p, false, Some(kept), None $(, $value)?)
                    .unwrap()
                    .0
            }
        }
    };
}
definition!(Before25);
definition!(Since25, false: bool);

/// What a boolean mask adds to the scores.
fn numbers(mask: &Tensor) -> Tensor {
    Tensor::zeros(mask.size(), (Kind::Double, device()))
        .masked_fill(&mask.logical_not(), f64::NEG_INFINITY)
}

/// libtorch's definition, with the dropout that a layer of this seed draws first.
fn libtorchs(inputs: &[Tensor; 3], mask: &Tensor, p: f64) -> Tensor {
    let [query, key, _] = inputs;
    let mask = match mask.kind() {
        Kind::Bool => numbers(mask).to_kind(query.kind()),
        _ => mask.shallow_clone(),
    };
    let weights = query.matmul(&key.transpose(-2, -1)).ones_like();
    let kept = elements(p).with_seed(SEED).draw_mask(&weights, true).unwrap().ne(0);
    Tensor::f_internal_scaled_dot_product_attention_math::<Tensor>.with_dropout(
        inputs,
        &mask,
        (p, &kept),
    )
}

fn leaves(inputs: &[Tensor; 3]) -> [Tensor; 3] {
    inputs.each_ref().map(|x| x.detach().set_requires_grad(true))
}

/// PyTorch draws its dropout from the same state twice; here both get the same mask.
#[test]
fn given_the_same_dropout_it_is_libtorchs_definition() {
    let _generator = seeded();
    for (kind, tolerance) in [(Kind::Double, 1e-13), (Kind::Float, 2e-5)] {
        for leading in [&[5][..], &[5, 2]] {
            let sized = |size: &[i64]| [leading, size].concat();
            let (square, full) = (vec![4, 3], sized(&[4, 3]));
            let masks = [
                (None, false),
                (None, true),
                (Some(some_in_each_row(&square)), false),
                (Some(some_in_each_row(&full)), false),
                (Some(random(&full, kind)), false),
            ];
            for (mask, causal) in masks {
                for p in [0.0, 0.2, 0.5] {
                    let inputs = [[4, 6], [3, 6], [3, 6]].map(|size| random(&sized(&size), kind));
                    let (ours, theirs) = (leaves(&inputs), leaves(&inputs));
                    let layer = attention(p).with_causal(causal);
                    let y = forward(&layer, &ours, mask.as_ref(), true);
                    let all = if causal { ones(&square).tril(0) } else { ones(&square) };
                    let expected = libtorchs(&theirs, mask.as_ref().unwrap_or(&all), p);
                    assert_close(&y, &expected, tolerance);
                    let weight = y.rand_like();
                    for (x, other) in ours.iter().zip(&theirs) {
                        let actual = gradient(&(&y * &weight).sum(kind), x);
                        let expected = gradient(&(&expected * &weight).sum(kind), other);
                        assert_close(&actual, &expected, tolerance);
                    }
                }
            }
        }
    }
}

#[test]
fn a_mask_and_causal_go_together() {
    let _generator = seeded();
    let inputs = doubles([&[2, 3, 4, 8], &[2, 3, 6, 8], &[2, 3, 6, 5]]);
    let (mask, past) = (some(&[2, 1, 4, 6]), ones(&[4, 6]).tril(0));
    let causal = attention(P).with_causal(true);
    for train in [true, false] {
        let expected = forward(&attention(P), &inputs, Some(&mask.logical_and(&past)), train);
        causal.stream().unwrap().set_step(0).unwrap();
        assert_close(&forward(&causal, &inputs, Some(&mask), train), &expected, 1e-13);
    }
}

/// A directional derivative of each, along a random direction, from the output at two points.
#[test]
fn gradients_are_those_of_finite_differences() {
    let _generator = seeded();
    const STEP: f64 = 1e-5;
    let packed = random(&[4, 4, 3 * 2 * 16], Kind::Double);
    for contiguous in [true, false] {
        for (p, train) in [(0.5, true), (0.5, false)] {
            let weight = random(&[4, 2, 4, 16], Kind::Double);
            let loss = |packed: &Tensor| {
                let inputs: Vec<_> = packed
                    .chunk(3, -1)
                    .iter()
                    .map(|x| x.view([4, 4, 2, 16]).transpose(1, 2))
                    .map(|x| if contiguous { x.contiguous() } else { x })
                    .collect();
                let y = forward(&attention(p), &inputs.try_into().unwrap(), None, train);
                (y * &weight).sum(Kind::Double)
            };
            let leaf = packed.detach().set_requires_grad(true);
            let gradient = gradient(&loss(&leaf), &leaf);
            for _ in 0..5 {
                let direction = packed.randn_like();
                let difference =
                    loss(&(&packed + &direction * STEP)) - loss(&(&packed - &direction * STEP));
                let expected = (&gradient * &direction).sum(Kind::Double);
                assert_close(&(difference / (2.0 * STEP)), &expected, 1e-7);
            }
        }
    }
}

#[test]
fn a_mask_broadcasts_in_every_dimension() {
    let _generator = seeded();
    const FULL: [i64; 4] = [2, 3, 4, 6];
    let inputs = doubles([&[2, 3, 4, 8], &[2, 3, 6, 8], &[2, 3, 6, 5]]);
    let either = |dims: &[i64], bits: usize| -> Vec<i64> {
        dims.iter().enumerate().map(|(i, &n)| if bits >> i & 1 == 1 { n } else { 1 }).collect()
    };
    let shapes = (0..16).map(|bits| either(&FULL, bits));
    let shapes = shapes.chain((0..4).map(|bits| either(&FULL[2..], bits)));
    let shapes = shapes.chain([vec![6], vec![1], vec![3, 4, 6], vec![3, 1, 6]]);
    for shape in shapes {
        let wide = [&shape[..shape.len() - 1], &[2 * shape[shape.len() - 1]]].concat();
        let with_gaps = random(&wide, Kind::Double).slice(-1, None, None, 2);
        for mask in [some(&shape), random(&shape, Kind::Double), with_gaps] {
            for train in [true, false] {
                let y = forward(&attention(P), &inputs, Some(&mask), train);
                let full = mask.expand(FULL, false).contiguous();
                let expected = forward(&attention(P), &inputs, Some(&full), train);
                assert_close(&y, &expected, 1e-13);
                assert!(is_finite(&y));
            }
        }
    }
}

#[test]
fn three_dimensions_are_a_batch_of_one_in_four() {
    let _generator = seeded();
    let inputs = doubles([&[2, 3, 8]; 3]);
    let more = inputs.each_ref().map(|x| x.unsqueeze(0));
    let masks = [None, Some(random(&[3, 3], Kind::Double)), Some(random(&[2, 3, 3], Kind::Double))];
    for mask in masks {
        for train in [true, false] {
            let y = forward(&attention(P), &inputs, mask.as_ref(), train);
            let expected = forward(&attention(P), &more, mask.as_ref(), train).squeeze_dim(0);
            assert_close(&y, &expected, 1e-13);
        }
    }
}

#[test]
fn heads_may_be_shared() {
    let _generator = seeded();
    for (heads, shared) in [(65, 5), (16, 4), (27, 1), (5, 1)] {
        let inputs = doubles([&[2, heads, 7, 8], &[2, shared, 10, 8], &[2, shared, 10, 8]]);
        let mask = random(&[2, heads, 7, 10], Kind::Double);
        for (p, train) in [(P, true), (0.0, false)] {
            let (ours, theirs) = (leaves(&inputs), leaves(&inputs));
            let y = forward(&attention(p), &ours, Some(&mask), train);
            let repeated = theirs
                .each_ref()
                .map(|x| x.repeat_interleave_self_int(heads / x.size()[1], 1, Some(heads)));
            let expected = libtorchs(&repeated, &mask, p);
            assert_close(&y, &expected, 1e-13);
            for (x, other) in ours.iter().zip(&theirs) {
                let actual = gradient(&y.sum(Kind::Double), x);
                assert_close(&actual, &gradient(&expected.sum(Kind::Double), other), 1e-11);
            }
        }
    }
}

#[test]
fn a_batch_is_expanded_by_the_caller() {
    let _generator = seeded();
    for (query, key) in [(&[1, 4, 3, 8][..], &[2, 4, 5, 8][..]), (&[4, 3, 8], &[4, 4, 5, 8])] {
        let inputs = doubles([query, key, key]);
        let [query, key, value] = &inputs;
        let error = attention(P).f_forward(query, key, value, None, true).unwrap_err();
        assert!(matches!(error, Error::AttentionShapes { .. }), "{error}");
        let whole = [&key.size()[..2], &query.size()[query.dim() - 2..]].concat();
        let expanded = [query.expand(&whole, false), key.shallow_clone(), value.shallow_clone()];
        let y = forward(&attention(P), &expanded, None, true);
        assert_close(&y, &libtorchs(&inputs, &ones(&[3, 5]), P), 1e-13);
    }
}

/// Each query sees ten keys at most, through a mask of -∞ and 0. In evaluation, those queries are left out that see
/// none of the first 512 keys: the kernel of libtorch 2.4.0 gives them NaN (pytorch issue 127055).
#[test]
fn a_band_of_keys() {
    let _generator = seeded();
    let full = Tensor::full([600, 600], f64::NEG_INFINITY, float());
    let mask = full.triu(1) + full.tril(-10);
    assert_eq!(count_kept(&mask.isfinite()), 600.0 * 10.0 - 45.0);
    let inputs = [(); 3].map(|()| random(&[1, 2, 600, 8], Kind::Float));
    let wide = inputs.each_ref().map(|x| x.to_kind(Kind::Double));
    for (p, train, queries) in [(P, true, 600), (0.0, false, 512)] {
        let y = forward(&attention(p), &inputs, Some(&mask), train).to_kind(Kind::Double);
        let expected = libtorchs(&wide, &mask.to_kind(Kind::Double), p);
        assert_close(&y.narrow(2, 0, queries), &expected.narrow(2, 0, queries), 1e-5);
    }
}

#[test]
fn rows_without_keys_give_0_and_have_no_gradient() {
    let _generator = seeded();
    const T: i64 = 32;
    let places = Tensor::arange(T, (Kind::Int64, device()));
    let same_fifth = places.fmod(5).unsqueeze(1).eq_tensor(&places.fmod(5));
    let is_blind = places.fmod(4).eq(0);
    let mask = same_fifth.logical_and(&is_blind.logical_not().unsqueeze(1));
    for (kind, tolerance) in [(Kind::Float, 1e-5), (Kind::Half, 5e-3)] {
        let inputs = [(); 3].map(|()| Tensor::rand([1, 1, T, 16], (kind, device())));
        for train in [true, false] {
            let narrow = leaves(&inputs);
            let wide = leaves(&inputs.each_ref().map(|x| x.to_kind(Kind::Double)));
            let y = forward(&attention(P), &narrow, Some(&mask), train);
            let expected = forward(&attention(P), &wide, Some(&mask), train);
            assert_close(&y.to_kind(Kind::Double), &expected, tolerance);
            let blind =
                |t: &Tensor| count_kept(&t.index_select(2, &is_blind.nonzero().flatten(0, -1)));
            assert_eq!(blind(&y), 0.0);
            let gradients = narrow.each_ref().map(|x| gradient(&y.sum(kind), x));
            assert_eq!(blind(&gradients[0]), 0.0);
            for (actual, x) in gradients.iter().zip(&wide) {
                let expected = gradient(&expected.sum(Kind::Double), x);
                assert!(is_finite(actual));
                assert_close(&actual.to_kind(Kind::Double), &expected, 3.0 * tolerance);
            }
        }
    }
}

/// In training; in evaluation it is up to libtorch's kernel.
#[test]
fn what_is_not_a_number_stays_so() {
    let _generator = seeded();
    for kind in [Kind::Float, Kind::Half] {
        let mut inputs = [(); 3].map(|()| random(&[1, 2, 4, 16], kind));
        let _ = inputs[0].get(0).get(1).get(2).narrow(0, 3, 1).fill_(f64::INFINITY);
        // A score of +∞ at least: a query whose scores are all -∞ counts as one that sees nothing, in blocks.
        let _ = inputs[1].get(0).get(1).get(0).narrow(0, 3, 1).fill_(1.0);
        let leaves = leaves(&inputs);
        let y = forward(&attention(P), &leaves, None, true);
        let is_row = |t: &Tensor| t.isnan().any_dim(-1, false).flatten(0, -1);
        // Of [1, 2, 4] rows it is the sixth in order from 0.
        let expected = Tensor::arange(8, (Kind::Int64, device())).eq(6);
        assert_eq!(is_row(&y), expected);
        assert_eq!(is_row(&gradient(&y.sum(kind), &leaves[0])), expected);

        inputs[0] = inputs[0].full_like(f64::NAN);
        let y = forward(&attention(P), &inputs, None, true);
        assert_eq!(count_kept(&y.isnan()), y.numel() as f64);
    }
}

#[test]
fn a_large_negative_scale() {
    let _generator = seeded();
    let x = random(&[1, 3, 64, 64], Kind::Double);
    let inputs = [x.shallow_clone(), x.shallow_clone(), x.shallow_clone()];
    let scores = x.matmul(&x.transpose(-2, -1)) / -0.0001;
    let weights = scores.softmax(-1, None);
    let mask = elements(P).with_seed(SEED).draw_mask(&weights, true).unwrap();
    let layer = attention(P).with_scale(-1.0 / 0.0001);
    for (train, weights) in [(true, &weights * &mask), (false, weights)] {
        let y = forward(&layer, &inputs, None, train);
        assert_close(&y, &weights.matmul(&x), 1e-9);
    }
}

/// The scores here are 256 · 256 · 80 / 8 = 655360, and f16 ends at 65504.
#[test]
fn half_precision_has_scores_in_f32() {
    let _generator = seeded();
    let x = Tensor::full([1, 32, 23, 80], 256.0, (Kind::Half, device()));
    let leaf = x.detach().set_requires_grad(true);
    // A power of 2, so that each score is exact.
    let y = attention(0.1).with_scale(0.125).forward(&leaf, &leaf, &leaf, None, true);
    assert!(is_finite(&y), "{y}");
    assert!(is_finite(&gradient(&(y.sum(Kind::Float) * 0.01), &leaf)));
    let weights = Tensor::full([1, 32, 23, 23], 1.0 / 23.0, float());
    let kept = elements(0.1).with_seed(SEED).forward_t(&weights, true);
    let expected = kept.sum_dim_intlist([-1].as_slice(), true, Kind::Float) * 256.0;
    assert_close(&(y.to_kind(Kind::Float) / expected), &x.ones_like(), 2e-3);

    // As exact as exact weights would be, once they are rounded.
    for (kind, unit) in [(Kind::Half, 2f64.powi(-11)), (Kind::BFloat16, 2f64.powi(-8))] {
        let rand = || Tensor::rand([1, 2, 128, 80], (kind, device())) * 5.0;
        let (query, key, value) = (rand(), rand(), random(&[1, 2, 128, 80], kind));
        let [q, k] = [&query, &key].map(|x| x.to_kind(Kind::Double));
        let weights =
            (q.matmul(&k.transpose(-2, -1)) / 80f64.sqrt()).softmax(-1, None).to_kind(kind);
        let mask = elements(P).with_seed(SEED).draw_mask(&weights, true).unwrap();
        let expected = (weights * mask).matmul(&value).to_kind(Kind::Double);
        let y = forward(&attention(P), &[query, key, value], None, true).to_kind(Kind::Double);
        let largest = expected.abs().max().double_value(&[]);
        assert_close(&y, &expected, 2.0 * unit * largest);
    }
}

/// In training; in evaluation it is up to libtorch's kernel, except where tests/attention.rs says so.
#[test]
fn a_dimension_may_be_empty() {
    let _generator = seeded();
    for (query, key, value) in [
        ([0, 4, 10, 64], [0, 4, 10, 64], [0, 4, 10, 32]),
        ([2, 0, 10, 64], [2, 0, 10, 64], [2, 0, 10, 32]),
        ([2, 4, 0, 64], [2, 4, 10, 64], [2, 4, 10, 32]),
        ([2, 4, 10, 64], [2, 4, 0, 64], [2, 4, 0, 32]),
        ([2, 4, 10, 64], [2, 4, 10, 64], [2, 4, 10, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
    ] {
        let inputs = leaves(&doubles([&query, &key, &value]));
        let y = forward(&attention(P), &inputs, None, true);
        assert_eq!(y.size(), [&query[..3], &value[3..]].concat());
        assert_eq!(count_kept(&y), 0.0);
        for x in &inputs {
            let gradient = gradient(&y.sum(Kind::Double), x);
            assert_eq!((gradient.size(), count_kept(&gradient)), (x.size(), 0.0));
        }
    }
    // Keys of no features are all alike.
    for scale in [None, Some(1.0)] {
        let inputs = doubles([&[1, 2, 4, 0], &[1, 2, 6, 0], &[1, 2, 6, 8]]);
        let layer = scale.into_iter().fold(attention(P), Attention::with_scale);
        let weights = Tensor::full([1, 2, 4, 6], 1.0 / 6.0, (Kind::Double, device()));
        let expected = attention_mask(&weights) * weights;
        let y = forward(&layer, &inputs, None, true);
        assert_close(&y, &expected.matmul(&inputs[2]), 1e-13);
    }
}

fn attention_mask(weights: &Tensor) -> Tensor {
    elements(P).with_seed(SEED).draw_mask(weights, true).unwrap()
}

#[test]
fn values_may_have_another_size() {
    let _generator = seeded();
    for leading in [&[1][..], &[1, 1], &[2, 3, 1]] {
        let sized = |n| [leading, &[16, n]].concat();
        let inputs = doubles([&sized(32), &sized(32), &sized(24)]);
        for (p, train) in [(P, true), (0.0, false)] {
            let y = forward(&attention(p), &inputs, None, train);
            assert_eq!(y.size(), sized(24));
            assert_close(&y, &libtorchs(&inputs, &ones(&[16, 16]), p), 1e-13);
        }
    }
}

/// Counted from the lower right, the last query sees all keys, as if the queries before it were cut off.
#[test]
fn causal_counts_from_the_upper_left() {
    let _generator = seeded();
    for [n, heads, t, s, e] in
        [[2, 2, 16, 16, 8], [2, 2, 8, 16, 8], [2, 2, 16, 8, 8], [1, 1, 23, 56, 15]]
    {
        let inputs = doubles([&[n, heads, t, e], &[n, heads, s, e], &[n, heads, s, e]]);
        for train in [true, false] {
            let upper_left = ones(&[t, s]).tril(0);
            let y = forward(&attention(P).with_causal(true), &inputs, None, train);
            let expected = forward(&attention(P), &inputs, Some(&upper_left), train);
            assert_close(&y, &expected, 1e-13);
        }
        if t <= s {
            let lower_right = ones(&[t, s]).tril(s - t);
            let y = forward(&attention(P), &inputs, Some(&lower_right), false);
            let [query, key, value] = &inputs;
            let before = random(&[n, heads, s - t, e], Kind::Double);
            let longer = Tensor::cat(&[&before, query], 2);
            let causal = attention(P).with_causal(true);
            let expected = causal.forward(&longer, key, value, None, false).narrow(2, s - t, t);
            assert_close(&y, &expected, 1e-13);
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let _generator = seeded();
    let x = || nonzero(&[1, 4, 8, 16]);
    for train in [true, false] {
        let half = x().to_kind(Kind::Half);
        for [query, key, value] in
            [[&x(), &half, &half], [&half, &x(), &x()], [&half, &half, &x()], [&x(), &half, &x()]]
        {
            assert!(attention(P).f_forward(query, key, value, None, train).is_err());
        }
        let (flat, matrix) = (nonzero(&[4]), nonzero(&[1, 4]));
        let error = attention(P).f_forward(&flat, &matrix, &matrix, None, train).unwrap_err();
        assert!(matches!(error, Error::AttentionShapes { expected: "at least 2 dimensions", .. }));
        for kind in [Kind::Uint8, Kind::Int64] {
            let mask = ones(&[8, 8]).to_kind(kind);
            let error = attention(P).f_forward(&x(), &x(), &x(), Some(&mask), train).unwrap_err();
            assert!(matches!(error, Error::AttentionMaskKind { mask, .. } if mask == kind));
        }
    }
}

fn multi_head(vs: &mut nn::VarStore, features: i64, heads: i64, p: f64) -> MultiHeadAttention {
    let config = MultiHeadAttentionConfig { p, ..Default::default() };
    let layer = multi_head_attention(vs.root(), features, heads, config).unwrap().with_seed(SEED);
    vs.double();
    layer
}

fn store() -> nn::VarStore {
    nn::VarStore::new(device())
}

/// With nothing dropped, training and evaluation agree; a mask by sample and head is `[N, H, T, S]` here, where
/// PyTorch's module has `[N * H, T, S]`.
#[test]
fn masks_of_each_shape_and_kind() {
    let _generator = seeded();
    let (n, t, features, heads) = (2, 4, 8, 4);
    let mut vs = store();
    let layer = multi_head(&mut vs, features, heads, 0.0);
    let x = random(&[n, t, features], Kind::Double);
    for shape in [&[t, t][..], &[n, heads, t, t], &[n, 1, 1, t]] {
        for mask in [some(shape), random(shape, Kind::Double), random(shape, Kind::Float)] {
            let y = layer.forward(&x, &x, &x, Some(&mask), true);
            let full = mask.expand([n, heads, t, t], false);
            assert_close(&layer.forward(&x, &x, &x, Some(&mask), false), &y, 1e-13);
            assert_close(&layer.forward(&x, &x, &x, Some(&full), false), &y, 1e-13);
            let all = layer.forward(&x, &x, &x, None, false);
            assert_ne!(y, all);
        }
        let none = ones(shape);
        let all = layer.forward_t(&x, true);
        assert_close(&layer.forward(&x, &x, &x, Some(&none), true), &all, 1e-13);
    }
}

/// Queries, keys and values are 4, and so is what a query finds, whichever keys it sees: the output is 4 · 4.
#[test]
fn a_layer_of_ones_gives_16() {
    let _generator = seeded();
    for causal in [true, false] {
        let vs = store();
        let config = MultiHeadAttentionConfig { p: 0.0, causal, ..Default::default() };
        let layer = multi_head_attention(vs.root(), 4, 1, config).unwrap();
        tch::no_grad(|| {
            let _ = vs.variables()["in_proj_weight"].shallow_clone().fill_(1);
            let _ = layer.out_proj.ws.shallow_clone().fill_(1);
        });
        let x = Tensor::ones([1, 2, 4], float());
        for (train, mask) in [(true, None), (false, None), (false, Some(ones(&[2, 2]).tril(0)))] {
            let y = layer.forward(&x, &x, &x, mask.as_ref(), train);
            assert_eq!(y, Tensor::full([1, 2, 4], 16.0, float()));
        }
    }
}

#[test]
fn padding_changes_nothing_in_training() {
    let _generator = seeded();
    let mut vs = store();
    let layer = multi_head(&mut vs, 8, 2, P);
    let words = random(&[3, 2, 8], Kind::Double);
    let mask = Tensor::from_slice(&[true, true, false, false]).to_device(device());
    let forward = |padding: &Tensor, train| {
        layer.stream().unwrap().set_step(0).unwrap();
        let x = Tensor::cat(&[&words, padding], 1);
        layer.forward(&x, &x, &x, Some(&mask), train).narrow(1, 0, 2)
    };
    let zeros = words.zeros_like();
    for train in [true, false] {
        assert_close(&forward(&(&zeros + 1e3), train), &forward(&zeros, train), 1e-13);
    }
    // In evaluation it could as well be absent.
    let alone = layer.forward_t(&words, false);
    assert_close(&forward(&zeros, false), &alone, 1e-13);
    assert_ne!(forward(&zeros, true), alone);
}

#[test]
fn without_biases_there_are_none() {
    let _generator = seeded();
    let vs = store();
    let config = MultiHeadAttentionConfig { bias: false, ..Default::default() };
    let layer = multi_head_attention(vs.root(), 10, 1, config).unwrap();
    assert!(layer.in_proj_bias.is_none() && layer.out_proj.bs.is_none());
    let zeros = Tensor::zeros([1, 5, 10], float());
    for train in [true, false] {
        assert_eq!(count_kept(&layer.forward_t(&zeros, train)), 0.0);
    }
}

/// What PyTorch's module returns with its output, if `need_weights`: in evaluation each row sums to 1, and in
/// training to what dropout has left of it.
#[test]
fn identities_as_values_bring_the_weights_out() {
    let _generator = seeded();
    let (n, heads, t, s) = (2, 3, 4, 6);
    let (query, key) =
        (random(&[n, heads, t, 8], Kind::Double), random(&[n, heads, s, 8], Kind::Double));
    let value = Tensor::eye(s, (Kind::Double, device())).expand([n, heads, s, s], false);
    let found = |train| attention(P).forward(&query, &key, &value, None, train);
    let sums = |t: &Tensor| t.sum_dim_intlist([-1].as_slice(), false, Kind::Double);
    let weights = found(false);
    assert_close(&sums(&weights), &Tensor::ones([n, heads, t], (Kind::Double, device())), 1e-13);
    let averaged = weights.mean_dim([1].as_slice(), false, Kind::Double);
    assert_close(&sums(&averaged), &Tensor::ones([n, t], (Kind::Double, device())), 1e-13);
    let dropped = &weights * attention_mask(&weights);
    assert_close(&found(true), &dropped, 1e-13);
}

#[test]
fn a_mask_for_each_sample() {
    let _generator = seeded();
    let (n, t, s) = (8, 2, 3);
    let mut vs = store();
    let layer = multi_head(&mut vs, 8, 4, P);
    let (query, key) = (random(&[n, t, 8], Kind::Double), random(&[n, s, 8], Kind::Double));
    let mask = some_in_each_row(&[n, t, s]);
    let y = layer.forward(&query, &key, &key, Some(&mask.unsqueeze(1)), false);
    for i in 0..n {
        let sample = |x: &Tensor| x.narrow(0, i, 1);
        let (query, key) = (sample(&query), sample(&key));
        let alone = layer.forward(&query, &key, &key, Some(&mask.get(i)), false);
        assert_close(&sample(&y), &alone, 1e-13);
    }
}

/// PyTorch's are true for what takes no part, and so joined by "or"; ours by "and". Masks of numbers are added.
#[test]
fn two_masks_are_one() {
    let _generator = seeded();
    let (n, t, features, heads) = (8, 5, 14, 7);
    let mut vs = store();
    let layer = multi_head(&mut vs, features, heads, P);
    let x = random(&[n, t, features], Kind::Double);
    let (pairs, keys) = (some(&[t, t]), some(&[n, 1, 1, t]));
    let both = pairs.logical_and(&keys);
    let y = layer.forward(&x, &x, &x, Some(&both), false);
    let sum = numbers(&pairs) + numbers(&keys);
    assert_close(&layer.forward(&x, &x, &x, Some(&sum), false), &y, 1e-13);
    // A query by itself sees the keys of both masks as if there were no others. Without any it finds nothing,
    // where PyTorch's module has NaN, and its test leaves the row out.
    let mut blind = 0;
    for sample in 0..n {
        for place in 0..t {
            let seen = both.get(sample).get(0).get(place).nonzero().flatten(0, -1);
            let found = y.get(sample).get(place);
            if seen.numel() == 0 {
                blind += 1;
                assert_same_bits(&found, layer.out_proj.bs.as_ref().unwrap());
                continue;
            }
            let sequence = x.narrow(0, sample, 1);
            let (query, keys) = (sequence.narrow(1, place, 1), sequence.index_select(1, &seen));
            let alone = layer.forward(&query, &keys, &keys, None, false);
            assert_close(&found, &alone.flatten(0, -1), 1e-12);
        }
    }
    assert!(blind > 0, "no query without keys");
}

#[test]
fn shapes_of_a_batch() {
    let _generator = seeded();
    let mut vs = store();
    let layer = multi_head(&mut vs, 4, 4, P);
    let (batch, single) = (random(&[4, 4, 4], Kind::Double), random(&[4, 4], Kind::Double));
    for train in [true, false] {
        for [query, key, value] in [
            [&batch, &single, &batch],
            [&batch, &batch, &single],
            [&single, &batch, &single],
            [&single, &single, &single],
        ] {
            let error = layer.f_forward(query, key, value, None, train).unwrap_err();
            let text = "multi-head attention needs inputs of shape [N, T, 4], got [4, 4]";
            assert_eq!(error.to_string(), text);
        }
        let error = layer.f_forward(&batch, &batch, &batch, Some(&some(&[5, 4, 4])), train);
        assert!(matches!(error, Err(Error::AttentionMask { .. })));
    }
    let of_one = single.unsqueeze(0);
    assert_eq!(layer.forward_t(&of_one, false).size(), [1, 4, 4]);

    let keys = Tensor::from_slice(&[false, false, true, true]).to_device(device());
    let y = layer.forward(&batch, &batch, &batch, Some(&keys), false);
    let seen = batch.narrow(1, 2, 2);
    assert_close(&y, &layer.forward(&batch, &seen, &seen, None, false), 1e-13);
}
