//! What timm and open_clip expect of PatchDropout, DropPath and DropBlock, checked on ours: timm's
//! `tests/test_layers_drop.py` and `tests/layers/test_drop.py`, and, where there are no tests, what the layers
//! themselves assert and do (`timm/layers/patch_dropout.py`, `drop.py`; `open_clip/transformer.py`).
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `PatchDropout` of both | |
//! | `max(1, int(tokens * (1 - prob)))` patches stay | `as_many_patches_stay`: one more here where the product is rounded below a whole number |
//! | `num_prefix_tokens`, 1 by default; `exclude_first_token`, true by default | `prefix_tokens_stay_in_front`: none by default, and the class token is asked for |
//! | `ordered`, false by default | `kept_tokens_are_an_ordered_draw`: always; a model that does not see the order loses nothing by it |
//! | `assert 0 <= prob < 1` | `p_of_1_leaves_one_patch`: allowed, as in every layer here, so that a schedule may end there |
//! | evaluation, or `prob == 0`, returns the input | `evaluation_and_p_of_0_return_the_input` |
//! | `PatchDropoutWithIndices`: indices of patches, `None` in evaluation | `indices_count_the_prefix`: ours are of tokens, and all of them in evaluation |
//! | `apply_keep_indices_nlc`, with a batch and without | the same test: `gather_tokens` |
//! | `test_layers_drop.py`, `TestDropPath`, `TestDropPathModule` | |
//! | `test_no_drop_when_prob_zero`, `test_no_drop_when_not_training`, `test_training_mode` | `paths_are_dropped_in_training` |
//! | `test_drop_path_scaling` | `kept_paths_grow_by_the_keep_probability` |
//! | `test_drop_path_no_scaling`: `scale_by_keep=False` | the same test: `Dropout::samples`; the layer that skips always rescales |
//! | `test_extra_repr` | tests/display.rs, tests/stochastic_depth.rs |
//! | `calculate_drop_path_rates`, by block and by stage | `rates_rise_from_0_to_the_last_block` |
//! | `test_layers_drop.py`, `TestDropBlock2d`, `TestDropBlock2dModule` | |
//! | `test_drop_block_2d_output_shape`, `.._asymmetric_input`, `.._even_block_size` | `the_shape_of_a_map_stays` |
//! | `.._no_drop_when_prob_zero`, `test_training_mode` | `blocks_are_dropped_in_training` |
//! | `.._approximate_keep_ratio`: 0.1, to 0.03 | `about_a_tenth_is_dropped` |
//! | `.._couple_channels_false` | `channels_have_blocks_of_their_own_or_share_them`: as in torchvision, the only way |
//! | `.._couple_channels_true`, the default; `batchwise` | the same test: the layer over ones of the noise shape |
//! | `.._scale_by_keep`, `scale_by_keep=False` | the same test: where that mask is not 0 |
//! | `.._with_noise`, `gamma_scale`; `.._inplace`; `test_deprecated_args_accepted`, `test_unknown_args_warned` | none here; for `gamma_scale`, another p |
//! | `test_drop.py`: `test_clip_mask_2d_odd`, a seed only where a whole block fits | `a_seed_drops_a_whole_block_anywhere` |
//! | `test_clip_mask_2d_even`: one row and column fewer than fit | the same test: all that fit |
//! | `test_clip_mask_2d_kernel_too_big`: an error | not here: the block is cut to the map, as `drop_block_2d` does; same test |

mod common;

use common::{
    assert_binomial, assert_close, assert_same_bits, count_kept, device, float, nonzero, seeded,
};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{
    DropBlock, Dropout, Error, PatchDropout, StochasticDepth, TrueDropout, gather_tokens, schedule,
    stochastic_depth_rates,
};

fn ones(size: &[i64]) -> Tensor {
    Tensor::ones(size, float())
}

fn patch_dropout(p: f64, prefix_tokens: i64) -> PatchDropout {
    PatchDropout::new(p).unwrap().with_prefix_tokens(prefix_tokens).unwrap()
}

/// Python's `int(tokens * (1. - prob))` cuts off the digits of the same product in f64. Ours is of the decimal numbers.
#[test]
fn as_many_patches_stay() {
    let _generator = seeded();
    let mut one_more = 0;
    for percent in [0, 10, 25, 50, 75, 80, 90, 99] {
        let p = percent as f64 / 100.0;
        for patches in 1..=50 {
            let theirs = ((patches as f64 * (1.0 - p)).floor() as i64).max(1);
            let expected = (patches * (100 - percent) / 100).max(1);
            assert!((0..=1).contains(&(expected - theirs)));
            one_more += expected - theirs;
            for prefix in [0, 1, 5] {
                let y = patch_dropout(p, prefix).forward_t(&ones(&[2, prefix + patches, 3]), true);
                assert_eq!(y.size(), [2, prefix + expected, 3], "{patches} patches, p = {p}");
            }
        }
    }
    assert!(one_more > 0);
}

#[test]
fn prefix_tokens_stay_in_front() {
    let _generator = seeded();
    assert_eq!(PatchDropout::new(0.5).unwrap().prefix_tokens(), 0);
    for prefix in [1, 5] {
        let x = nonzero(&[8, prefix + 16, 4]);
        let y = patch_dropout(0.5, prefix).forward_t(&x, true);
        assert_same_bits(&y.narrow(1, 0, prefix), &x.narrow(1, 0, prefix));
    }
    // Without the prefix, a first token is dropped as often as any.
    let first = |x: &Tensor| patch_dropout(0.5, 0).forward_t(x, true).select(1, 0);
    let x = Tensor::arange(16, float()).reshape([1, 16, 1]).expand([4000, 16, 1], false);
    assert_binomial(count_kept(&first(&x).eq(0)), 4000.0, 0.5);
}

/// The same patches as timm's shuffled ones, sorted: each sample's are distinct, and drawn by itself.
#[test]
fn kept_tokens_are_an_ordered_draw() {
    let _generator = seeded();
    let x = Tensor::arange(20, float()).reshape([1, 20, 1]).expand([500, 20, 1], false);
    let y = patch_dropout(0.75, 0).forward_t(&x, true).squeeze_dim(2);
    assert_eq!(y.size(), [500, 5]);
    assert!(bool::try_from((y.narrow(1, 1, 4) - y.narrow(1, 0, 4)).gt(0).all()).unwrap());
    for token in 0..20 {
        assert_binomial(count_kept(&y.eq(token)), 500.0, 0.25);
    }
    let same_as_before = y.narrow(0, 1, 499).eq_tensor(&y.narrow(0, 0, 499)).all_dim(1, false);
    // One in 15504 choices of 5 of 20.
    assert!(count_kept(&same_as_before) <= 2.0);
}

#[test]
fn p_of_1_leaves_one_patch() {
    let _generator = seeded();
    let layer = patch_dropout(1.0, 1);
    assert_eq!(layer.forward_t(&ones(&[2, 17, 3]), true).size(), [2, 2, 3]);
    for step in 0..=8 {
        layer.set_p(schedule::linear(0.0, 1.0, 8, step)).unwrap();
        let patches = layer.forward_t(&ones(&[2, 17, 3]), true).size()[1] - 1;
        assert_eq!(patches, (16 - 2 * step as i64).max(1));
    }
    for p in [-0.1, 1.1] {
        assert!(matches!(PatchDropout::new(p), Err(Error::Probability(refused)) if refused == p));
    }
}

#[test]
fn evaluation_and_p_of_0_return_the_input() {
    let _generator = seeded();
    let x = nonzero(&[2, 17, 3]);
    for (p, train) in [(0.5, false), (0.99, false), (0.0, true), (0.0, false)] {
        let y = patch_dropout(p, 1).forward_t(&x, train);
        assert_eq!(y.data_ptr(), x.data_ptr());
        assert_same_bits(&y, &x);
    }
}

/// timm's indices are these without the prefix, minus its length, and positions are gathered by them: of the whole
/// batch, or one for each sample.
#[test]
fn indices_count_the_prefix() {
    let _generator = seeded();
    let x = nonzero(&[8, 1 + 16, 4]);
    let draw = || patch_dropout(0.5, 1).with_seed(7);
    let (y, indices) = (draw().forward_t(&x, true), draw().draw_indices(&x, true).unwrap());
    assert_eq!(indices.size(), [8, 1 + 8]);
    assert_eq!(count_kept(&indices.select(1, 0)), 0.0);
    let timms = indices.narrow(1, 1, 8) - 1;
    let patches = x.narrow(1, 1, 16);
    let gathered = patches.gather(1, &timms.unsqueeze(2).expand([8, 8, 4], false), false);
    assert_same_bits(&y.narrow(1, 1, 8), &gathered);

    let positions = nonzero(&[16, 6]);
    let of_batch = gather_tokens(&positions.unsqueeze(0), &timms).unwrap();
    let of_samples = gather_tokens(&positions.expand([8, 16, 6], false), &timms).unwrap();
    let expected = positions.index_select(0, &timms.flatten(0, -1)).reshape([8, 8, 6]);
    assert_same_bits(&of_batch, &expected);
    assert_same_bits(&of_samples, &expected);

    let all = Tensor::arange(17, (Kind::Int64, device())).expand([8, 17], false);
    assert_eq!(draw().draw_indices(&x, false).unwrap(), all);
}

/// What the layer that skips adds to its input, for a branch of ones.
fn added(layer: &StochasticDepth, x: &Tensor, train: bool) -> Tensor {
    layer.forward(x, |kept| kept.ones_like(), train) - x
}

#[test]
fn paths_are_dropped_in_training() {
    let _generator = seeded();
    let x = ones(&[32, 8, 4, 4]);
    for (p, train) in [(0.0, true), (0.5, false)] {
        assert_same_bits(&TrueDropout::samples(p).unwrap().forward_t(&x, train), &x);
        assert_same_bits(&added(&StochasticDepth::new(p).unwrap(), &x, train), &x);
    }
    let dropped = |y: &Tensor| {
        let whole = y.flatten(1, -1).eq(0).all_dim(1, false);
        assert_eq!(
            count_kept(&y.eq(0)),
            count_kept(&whole) * 128.0,
            "a path is dropped as a whole"
        );
        count_kept(&whole)
    };
    assert_binomial(dropped(&TrueDropout::samples(0.5).unwrap().forward_t(&x, true)), 32.0, 0.5);
    assert_binomial(dropped(&added(&StochasticDepth::new(0.5).unwrap(), &x, true)), 32.0, 0.5);
}

#[test]
fn kept_paths_grow_by_the_keep_probability() {
    let _generator = seeded();
    let x = ones(&[100, 8, 4, 4]);
    let scale = |y: &Tensor| {
        let kept = y.masked_select(&y.ne(0));
        assert_binomial(kept.numel() as f64 / 128.0, 100.0, 0.8);
        assert_close(&kept, &(kept.ones_like() * kept.mean(Kind::Float)), 1e-5);
        kept.get(0).double_value(&[])
    };
    assert!((scale(&TrueDropout::samples(0.2).unwrap().forward_t(&x, true)) - 1.25).abs() < 1e-6);
    assert!((scale(&added(&StochasticDepth::new(0.2).unwrap(), &x, true)) - 1.25).abs() < 1e-6);
    assert_eq!(scale(&Dropout::samples(0.2).unwrap().forward_t(&x, true)), 1.0);
}

/// timm's `torch.linspace(0, rate, sum(depths))`, in one row or cut into stages.
#[test]
fn rates_rise_from_0_to_the_last_block() {
    for (rate, depths) in [(0.1, [3, 3, 9, 3]), (0.4, [3, 3, 27, 3]), (0.0, [1, 1, 1, 1])] {
        let total: i64 = depths.iter().sum();
        let linspace = Tensor::linspace(0.0, rate, total, (Kind::Double, device()));
        let mut rates = stochastic_depth_rates(rate, total as usize);
        let stages = linspace.split_with_sizes(depths, 0);
        for (depth, stage) in depths.into_iter().zip(&stages) {
            let rates: Vec<f64> = rates.by_ref().take(depth as usize).collect();
            assert_close(&Tensor::from_slice(&rates).to_device(device()), stage, 1e-15);
        }
        assert_eq!(rates.next(), None);
    }
    assert!(stochastic_depth_rates(0.3, 1).eq([0.0]));
}

fn drop_block(p: f64, block_size: i64) -> DropBlock {
    DropBlock::new(p, block_size).unwrap()
}

#[test]
fn the_shape_of_a_map_stays() {
    let _generator = seeded();
    let squares = [(7, 7), (4, 8), (10, 5), (3, 3)].map(|size| (size, 3));
    let oblongs = [(8, 16), (16, 8), (7, 14), (14, 7)].map(|size| (size, 5));
    let even = [2, 4, 6].map(|block| ((16, 16), block));
    for ((h, w), block) in squares.into_iter().chain(oblongs).chain(even) {
        let y = drop_block(0.1, block).forward_t(&ones(&[2, 3, h, w]), true);
        assert_eq!(y.size(), [2, 3, h, w]);
    }
}

#[test]
fn blocks_are_dropped_in_training() {
    let _generator = seeded();
    let x = ones(&[2, 3, 8, 8]);
    for (p, train) in [(0.0, true), (0.0, false), (0.5, false)] {
        assert_same_bits(&drop_block(p, 3).forward_t(&x, train), &x);
    }
    let y = drop_block(0.5, 3).forward_t(&x, true);
    assert!(count_kept(&y) < y.numel() as f64);
}

#[test]
fn about_a_tenth_is_dropped() {
    let _generator = seeded();
    let y = drop_block(0.1, 7).forward_t(&ones(&[32, 16, 56, 56]), true);
    let share = 1.0 - count_kept(&y) / y.numel() as f64;
    assert!((share - 0.1).abs() < 0.03, "{share}");
    // What is kept grows by what was dropped, and so the mean stays.
    assert!((y.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-5);
}

/// A mask over ones of any noise shape, which has its rescaling in it, is multiplied with the input.
#[test]
fn channels_have_blocks_of_their_own_or_share_them() {
    let _generator = seeded();
    let x = nonzero(&[2, 4, 16, 16]);
    let layer = drop_block(0.3, 5).with_seed(7);
    let is_dropped = layer.forward_t(&x, true).eq(0);
    let alike = |t: &Tensor, dim: i64| t.select(dim, 0) == t.select(dim, 1);
    assert!(!alike(&is_dropped, 0) && !alike(&is_dropped, 1));

    for (noise, dim) in [([2, 1, 16, 16], 1), ([1, 4, 16, 16], 0)] {
        let mask = layer.forward_t(&ones(&noise), true);
        let coupled = &x * &mask;
        let is_dropped = coupled.eq(0);
        assert!(count_kept(&is_dropped) > 0.0);
        assert_same_bits(&is_dropped, &is_dropped.narrow(dim, 0, 1).expand_as(&is_dropped));
        // scale_by_keep: all that is kept grows alike, or not at all.
        let scale = noise.iter().product::<i64>() as f64 / count_kept(&mask);
        assert!(scale > 1.0);
        assert_close(&coupled, &((&x * scale) * mask.ne(0)), 1e-5);
        let unscaled = &x * mask.ne(0);
        assert_same_bits(&unscaled.masked_select(&mask.ne(0)), &x.masked_select(&mask.ne(0)));
    }
    // In evaluation the mask is ones.
    assert_same_bits(&(&x * layer.forward_t(&ones(&[2, 1, 16, 16]), false)), &x);
}

/// With next to one seed in all, each map has a block or none, and a block begins at each place where it fits.
#[test]
fn a_seed_drops_a_whole_block_anywhere() {
    let _generator = seeded();
    const N: i64 = 60_000;
    for (h, w, block, cut) in [(5, 7, 3, 3), (5, 7, 2, 2), (4, 7, 5, 4)] {
        let places = (h - cut + 1) * (w - cut + 1);
        // A block in one of 20 maps.
        let p = 0.05 * (cut * cut) as f64 / (h * w) as f64;
        let y = drop_block(p, block).forward_t(&ones(&[N, 1, h, w]), true);
        let dropped = y.eq(0).reshape([N, h, w]);
        let counts = dropped.to_kind(Kind::Int64).sum_dim_intlist([1, 2].as_slice(), false, None);
        let single = counts.eq(cut * cut);
        assert_eq!(
            count_kept(&counts.masked_select(&counts.lt(cut * cut))),
            0.0,
            "a part of a block"
        );
        let hit = 1.0 - (1.0 - 0.05 / places as f64).powi(places as i32);
        assert_binomial(count_kept(&counts), N as f64, hit);
        // Where the first dropped element of a map with one block is.
        let first = dropped.flatten(1, -1).to_kind(Kind::Int64).argmax(1, false);
        let first = first.masked_select(&single);
        for row in 0..h {
            for column in 0..w {
                let fits = row <= h - cut && column <= w - cut;
                let begun = count_kept(&first.eq(row * w + column));
                match fits {
                    true => assert_binomial(begun, first.numel() as f64, 1.0 / places as f64),
                    false => assert_eq!(begun, 0.0),
                }
            }
        }
    }
}
