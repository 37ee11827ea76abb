//! What PyTorch's `test/nn/test_dropout.py` expects of dropout, checked on ours. Its `nn.Dropout` is
//! `NoiseShape::Elements` here, and its `Dropout1d`, `2d` and `3d` are `NoiseShape::Channels`.
//!
//! Where PyTorch lets a mean be off by a constant, the kept elements are counted here, and the bound is the
//! binomial distribution's.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `test_Dropout`, `1d`, `2d`, `3d`: mean, memory format, gradient, evaluation, bfloat16 | `the_mean_and_the_memory_format_stay` |
//! | the same: `repr`, `str` | `layers_print_themselves` |
//! | the same, `inplace=True` | no layer writes to its input; their input there is no leaf, and ours neither |
//! | the same: an input with gaps, `p` of 0 and 1e-10 | `next_to_nothing_dropped_changes_no_value` |
//! | `test_Dropout`: strides of all permutations | `permuted_and_shifted_inputs_keep_their_order_in_memory` |
//! | `test_Dropout1d`, `2d`, `3d`: whole channels | `channels_are_dropped_as_a_whole` |
//! | the same: no batch dimension | `without_a_batch_the_channels_are_named_by_what_they_share` |
//! | `test_Dropout1d`: an error for one dimension | `channels_need_two_dimensions_and_take_any_more` |
//! | `1d`, `2d`, `3d`: errors and warnings for more dimensions | none: one layer serves all; same test |
//! | `test_empty_dropout` | `an_empty_input_has_an_empty_output` |
//! | `test_invalid_dropout_p` | `p_outside_0_and_1_is_refused_by_every_layer` |
//! | `test_native_dropout_corner_case` | with that of `test_jit.py`, in tests/expectations_pytorch_elsewhere.rs |
//! | `test_AlphaDropout`, `test_FeatureAlphaDropout` | `alpha_dropout_keeps_mean_and_deviation` |

mod common;

use common::{
    assert_binomial, assert_same_bits, channels_last, count_kept, device, elements, float,
    gradient, nonzero,
};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{AlphaDropout, DropConnectConfig, Dropout, Error, NoiseShape, TrueDropout};
use tch_dropout::{column_mask, drop_connect, element_mask};

fn channels(p: f64) -> TrueDropout {
    TrueDropout::channels(p).unwrap()
}

/// `x`, contiguous and, where it is a batch of images, with its channels last.
fn memory_formats(x: Tensor) -> Vec<Tensor> {
    if x.dim() == 4 { vec![channels_last(&x), x] } else { vec![x] }
}

/// The inputs are `1 - p`, and so the outputs are 0 or 1 and their mean is the share that is kept.
#[test]
fn the_mean_and_the_memory_format_stay() {
    const P: f64 = 0.2;
    for (layer, size) in [
        (elements(P), &[1000][..]),
        (channels(P), &[12, 13, 14]),
        (channels(P), &[1000, 3, 4, 5]),
        (channels(P), &[1000, 3, 2, 4, 5]),
    ] {
        let together: i64 = size.iter().skip(2).product();
        let groups = size.iter().take(2).product::<i64>() as f64;
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
            for data in memory_formats(Tensor::full(size, 1.0 - P, (kind, device()))) {
                let leaf = data.detach().set_requires_grad(true);
                for x in [leaf.shallow_clone(), &leaf + 0] {
                    let y = layer.forward_t(&x, true);
                    assert_eq!((y.kind(), y.stride()), (kind, data.stride()));
                    assert_eq!(count_kept(&y.eq(1)), count_kept(&y), "a kept element is 1");
                    assert_binomial(count_kept(&y) / together as f64, groups, 1.0 - P);

                    // The incoming gradient is the data, so the leaf's is what the output was.
                    let gradient = gradient(&(&y * &data).sum(kind), &leaf);
                    assert_eq!(gradient.stride(), data.stride());
                    assert_same_bits(&gradient, &y);
                    assert_same_bits(&layer.forward_t(&x, false), &data);
                }
            }
        }
    }
}

#[test]
fn layers_print_themselves() {
    assert_eq!(elements(0.2).to_string(), "TrueDropout(p=0.2, elements)");
    assert_eq!(channels(0.2).to_string(), "TrueDropout(p=0.2, channels)");
    assert!(format!("{:?}", elements(0.2)).contains("0.2"));
}

/// At 1e-10 an element is drawn and next to never dropped: once in 80 million runs of this test.
#[test]
fn next_to_nothing_dropped_changes_no_value() {
    for layer in [elements, channels] {
        for wide in memory_formats(nonzero(&[2, 3, 3, 6])) {
            let x = wide.slice(3, None, None, 2);
            assert_same_bits(&layer(0.0).forward_t(&x, true), &x);
            let y = layer(1e-10).forward_t(&x, true);
            assert_same_bits(&y, &x);
            let expected = if wide.is_contiguous() { x.contiguous() } else { channels_last(&x) };
            assert_eq!(y.stride(), expected.stride(), "the gaps are closed");
        }
    }
}

/// All orders of 0 to 3.
fn orders() -> impl Iterator<Item = [i64; 4]> {
    let digits = |i: i64| [i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6];
    (0..256).map(digits).filter(|order| order.iter().fold(0, |seen, d| seen | 1 << d) == 0b1111)
}

fn inverse(order: [i64; 4]) -> [i64; 4] {
    let mut inverse = [0; 4];
    (0..4).for_each(|i| inverse[order[i as usize] as usize] = i);
    inverse
}

#[test]
fn permuted_and_shifted_inputs_keep_their_order_in_memory() {
    let ones = Tensor::ones([2, 3, 4, 5], float());
    for p in [1e-10, 0.3, 0.5, 0.7] {
        let (mut kept_elements, mut all) = (0.0, 0.0);
        for order in orders() {
            let permuted = ones.permute(order).contiguous().permute(inverse(order));
            for (samples, rows) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let x = permuted.slice(0, samples, None, 1).slice(1, rows, None, 1);
                let y = elements(p).forward_t(&x, true);
                assert!(y.permute(order).is_contiguous(), "{order:?}: {:?}", y.stride());
                let scaled = y.ne(0).to_kind(Kind::Float) / (1.0 - p);
                assert!(y.allclose(&scaled, 1e-6, 0.0, false), "{y}");
                kept_elements += count_kept(&y);
                all += y.numel() as f64;
            }
        }
        assert_binomial(kept_elements, all, 1.0 - p);
    }
}

#[test]
fn channels_are_dropped_as_a_whole() {
    for size in [&[100, 40, 2][..], &[100, 40, 2, 2], &[100, 40, 2, 2, 2]] {
        let y = channels(0.5).forward_t(&Tensor::ones(size, float()), true);
        let counts = y.flatten(2, -1).count_nonzero_dim_intlist([2]);
        let whole = count_kept(&counts.eq(size[2..].iter().product::<i64>()));
        assert_eq!(count_kept(&counts), whole);
        assert_binomial(whole, 4000.0, 0.5);
    }
}

/// PyTorch guesses from the number of dimensions; here the shared ones are named.
#[test]
fn without_a_batch_the_channels_are_named_by_what_they_share() {
    for size in [&[50, 2][..], &[50, 2, 2], &[50, 2, 2, 2]] {
        let x = nonzero(size);
        let behind = (1..size.len() as i64).collect();
        let no_batch = TrueDropout::new(0.5).unwrap().with_noise_shape(NoiseShape::Shared(behind));
        let expected = channels(0.5).with_seed(1).forward_t(&x.unsqueeze(0), true).squeeze_dim(0);
        assert_same_bits(&no_batch.with_seed(1).forward_t(&x, true), &expected);
    }
}

#[test]
fn channels_need_two_dimensions_and_take_any_more() {
    let forward = |size: &[i64]| channels(0.5).f_forward_t(&nonzero(size), true);
    let error = forward(&[2]).unwrap_err().to_string();
    assert_eq!(
        error,
        "noise shape `channels` needs an input with at least 2 dimensions, got shape [2]"
    );
    for size in [&[1, 2][..], &[1, 2, 2], &[1, 2, 2, 2], &[1, 2, 2, 2, 2], &[1, 2, 2, 2, 2, 2]] {
        assert_eq!(forward(size).unwrap().size(), size);
    }
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let empty = Tensor::from_slice::<f32>(&[]);
    assert_eq!(elements(0.5).forward_t(&empty, true).size(), [0]);
}

#[test]
fn p_outside_0_and_1_is_refused_by_every_layer() {
    let (x, vs) = (nonzero(&[1, 1]), nn::VarStore::new(device()));
    for p in [-0.1, 1.1] {
        let config = DropConnectConfig { p, ..Default::default() };
        let errors = [
            Dropout::new(p).unwrap_err(),
            TrueDropout::new(p).unwrap_err(),
            drop_connect(vs.root(), 1, 1, config).unwrap_err(),
            column_mask(&x, p).unwrap_err(),
            element_mask(&x, p).unwrap_err(),
        ];
        assert!(errors.iter().all(|e| matches!(e, Error::Probability(refused) if *refused == p)));
    }
}

/// PyTorch lets both be off by 0.1, and so do we: a batch of few channels strays that far.
#[test]
fn alpha_dropout_keeps_mean_and_deviation() {
    let layers = |p: f64| {
        let channels = AlphaDropout::channels(p).unwrap().with_seed(1);
        [
            (AlphaDropout::elements(p).unwrap().with_seed(1), &[5000][..]),
            (channels.clone(), &[1000, 3, 2, 4, 5]),
            (channels, &[50, 20, 64, 64]),
        ]
    };
    for p in [0.2, 0.5, 0.8] {
        for (layer, size) in layers(p) {
            let input = Tensor::randn(size, float());
            let x = input.copy().set_requires_grad(true);
            let y = layer.forward_t(&x, true);
            let mean = (y.mean(Kind::Float) - input.mean(Kind::Float)).abs().double_value(&[]);
            let deviation = (y.std(true) - input.std(true)).abs().double_value(&[]);
            assert!(mean < 0.1 && deviation < 0.1, "{layer}, {size:?}: {mean}, {deviation}");
            let gradient = gradient(&y.sum(Kind::Float), &x);
            let dropped = y.masked_select(&gradient.eq(0));
            assert!(dropped.numel() > 0 && dropped.max() == dropped.min(), "{layer}: one value");
        }
    }
}
