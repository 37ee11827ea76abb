//! `PatchDropout`, held to open_clip's and timm's. That all choices are equally likely is examined in
//! `tests/statistics`.

mod common;

use common::{
    assert_close, assert_same_bits, channels_last, count_kept, device, float, gradient, nonzero,
    panic_text, seeded,
};
use tch::nn::ModuleT;
use tch::{CModule, Kind, Tensor};
use tch_dropout::{Error, MonteCarlo, PatchDropout, Stream, gather_tokens};

fn patch_dropout(p: f64, prefix_tokens: i64) -> PatchDropout {
    PatchDropout::new(p).unwrap().with_prefix_tokens(prefix_tokens).unwrap()
}

fn index(indices: &Tensor) -> Vec<Vec<i64>> {
    Vec::try_from(indices).unwrap()
}

#[test]
fn as_many_tokens_stay_as_promised() {
    let _generator = seeded();
    let cases = [
        (0.5, 196, 98),
        (0.75, 196, 49),
        (0.9, 196, 19),
        (0.5, 7, 3),
        (0.001, 196, 195),
        (0.999, 196, 1),
        (1.0, 196, 1),
        // One less in open_clip, where the product is rounded down.
        (0.8, 10, 2),
        (0.9, 100, 10),
        (0.55, 20, 9),
        (0.5, 1, 1),
        (0.0, 7, 7),
    ];
    for (p, tokens, stay) in cases {
        for prefix in [0, 1, 5] {
            let x = nonzero(&[2, prefix + tokens, 3]);
            let layer = patch_dropout(p, prefix);
            assert_eq!(layer.forward_t(&x, true).size(), [2, prefix + stay, 3], "{layer}");
            assert_eq!(layer.draw_indices(&x, true).unwrap().size(), [2, prefix + stay]);
        }
    }
}

/// `max(1, floor(T (1 - p)))` in whole numbers, for `p` in thousandths.
#[test]
fn their_number_is_exact() {
    let _generator = seeded();
    for tokens in (1..=200).chain([784, 1000, 3136, 4000]) {
        let x = Tensor::zeros([1, 1, 1], float()).expand([1, tokens, 1], false);
        for thousandths in (0..=1000).filter(|n| tokens <= 20 || n % 25 == 0) {
            let layer = patch_dropout(thousandths as f64 / 1000.0, 0);
            let stay = (tokens * (1000 - thousandths) / 1000).max(1);
            assert_eq!(layer.forward_t(&x, true).size()[1], stay, "{layer} of {tokens} tokens");
        }
    }
    // Where 1 - p is what the user means, and is rounded twice.
    for keep in 1..100 {
        let layer = patch_dropout(1.0 - f64::from(keep) / 100.0, 0);
        let x = Tensor::zeros([1, 1, 1], float()).expand([1, 100, 1], false);
        assert_eq!(layer.forward_t(&x, true).size()[1], i64::from(keep), "{layer}");
    }
}

#[test]
fn the_output_is_the_input_at_distinct_indices_in_their_order() {
    let _generator = seeded();
    for prefix in [0, 2] {
        for size in [&[5, 12][..], &[5, 12, 3], &[5, 12, 2, 3]] {
            let x = nonzero(size);
            let layer = || patch_dropout(0.6, prefix).with_seed(7);
            let indices = layer().draw_indices(&x, true).unwrap();
            assert_eq!(indices.kind(), Kind::Int64);
            let y = layer().forward_t(&x, true);
            for (sample, indices) in (0..).zip(index(&indices)) {
                assert!(indices.is_sorted_by(|a, b| a < b), "{indices:?}");
                assert!(indices.iter().take(prefix as usize).eq(&[0, 1][..prefix as usize]));
                for (place, token) in (0..).zip(indices) {
                    let expected = x.get(sample).get(token);
                    assert_same_bits(&y.get(sample).get(place), &expected);
                }
            }
        }
    }
}

#[test]
fn kept_tokens_have_the_gradient_and_dropped_ones_none() {
    let _generator = seeded();
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        let x = nonzero(&[4, 9, 3]).to_kind(kind).set_requires_grad(true);
        let layer = || patch_dropout(0.5, 1).with_seed(7);
        let y = layer().forward_t(&x, true);
        assert_eq!(y.kind(), kind);
        let weight = nonzero(&y.size()).to_kind(kind);
        let indices = layer().draw_indices(&x, true).unwrap().unsqueeze(2).expand([4, 5, 3], false);
        let expected = x.zeros_like().scatter(1, &indices, &weight);
        assert_same_bits(&gradient(&(y * &weight).sum(kind), &x), &expected);
    }
}

#[test]
fn the_choice_does_not_depend_on_kind_or_memory_format() {
    let _generator = seeded();
    let x = nonzero(&[4, 9, 6, 2]);
    let draw = |x: &Tensor| patch_dropout(0.5, 1).with_seed(7).draw_indices(x, true).unwrap();
    let expected = draw(&x);
    for kind in
        [Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::ComplexFloat, Kind::Bool]
    {
        let x = x.to_kind(kind);
        assert_eq!(draw(&x), expected);
        let y = patch_dropout(0.5, 1).with_seed(7).forward_t(&x, true);
        assert_eq!((y.kind(), y.size()), (kind, vec![4, 5, 6, 2]));
    }
    for x in [channels_last(&x), x.transpose(0, 1).contiguous().transpose(0, 1)] {
        assert!(!x.is_contiguous());
        let y = patch_dropout(0.5, 1).with_seed(7).forward_t(&x, true);
        assert_same_bits(&y, &patch_dropout(0.5, 1).with_seed(7).forward_t(&x.contiguous(), true));
    }
}

#[test]
fn nothing_to_do_returns_the_input_itself_and_draws_nothing() {
    let _generator = seeded();
    let layer = patch_dropout(0.5, 1).with_seed(7);
    let x = nonzero(&[4, 9, 3]);
    let two_tokens = nonzero(&[4, 2, 3]); // One of them is the prefix, and one must stay.
    let prefix_alone = nonzero(&[4, 1, 3]);
    let empty = Tensor::zeros([0, 9, 3], float());
    let no_features = Tensor::zeros([4, 9, 0], float());
    for (x, train) in [
        (&x, false),
        (&two_tokens, true),
        (&prefix_alone, true),
        (&empty, true),
        (&no_features, true),
    ] {
        let y = layer.forward_t(x, train);
        assert_eq!((y.data_ptr(), y.size()), (x.data_ptr(), x.size()));
        let all = Tensor::arange(x.size()[1], (Kind::Int64, device()));
        let indices = layer.draw_indices(x, train).unwrap();
        assert_same_bits(&indices, &all.expand([x.size()[0], x.size()[1]], false));
        assert_same_bits(&gather_tokens(x, &indices).unwrap(), x);
    }
    layer.set_p(0.0).unwrap();
    assert_eq!(layer.forward_t(&x, true).data_ptr(), x.data_ptr());
    assert_eq!(layer.stream().map(Stream::step), Some(0));
}

#[test]
fn the_seed_decides() {
    let _generator = seeded();
    let x = nonzero(&[4, 30, 3]);
    let layer = patch_dropout(0.5, 1).with_stream(Stream::new(7).with_worker(1));
    let (first, second) = (layer.forward_t(&x, true), layer.forward_t(&x, true));
    assert_ne!(first, second);
    assert_eq!(layer.stream().map(Stream::step), Some(2));
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &first);
    let unseeded = || {
        tch::manual_seed(5);
        patch_dropout(0.5, 1).forward_t(&x, true)
    };
    assert_same_bits(&unseeded(), &unseeded());
}

#[test]
fn a_schedule_changes_the_length() {
    let _generator = seeded();
    let layer = patch_dropout(0.0, 1);
    let x = nonzero(&[4, 9, 3]);
    for (p, stay) in [(0.25, 7), (0.5, 5), (1.0, 2)] {
        layer.set_p(p).unwrap();
        assert_eq!(layer.forward_t(&x, true).size(), [4, stay, 3]);
    }
}

#[test]
fn bad_input_is_an_error_and_takes_no_step() {
    let _generator = seeded();
    assert!(matches!(PatchDropout::new(1.5), Err(Error::Probability(1.5))));
    let error = PatchDropout::new(0.5).unwrap().with_prefix_tokens(-1).unwrap_err().to_string();
    assert_eq!(error, "prefix_tokens must be at least 0, got -1");
    let (plain, prefixed) =
        (patch_dropout(0.5, 0).with_seed(7), patch_dropout(0.5, 3).with_seed(7));
    let at_least = "[N, T, ...] with T >= 3, the number of prefix tokens";
    for (layer, x, text) in [
        (
            &plain,
            nonzero(&[]),
            "PatchDropout needs an input of shape [N, T, ...], got []".to_owned(),
        ),
        (
            &plain,
            nonzero(&[4]),
            "PatchDropout needs an input of shape [N, T, ...], got [4]".to_owned(),
        ),
        (
            &prefixed,
            nonzero(&[4, 2, 3]),
            format!("PatchDropout needs an input of shape {at_least}, got [4, 2, 3]"),
        ),
        (
            &plain,
            nonzero(&[4, 9, 3]).to_sparse_sparse_dim(3),
            "dropout is defined for strided tensors only, got a sparse, nested or oneDNN tensor"
                .to_owned(),
        ),
    ] {
        for train in [true, false] {
            assert_eq!(layer.f_forward_t(&x, train).unwrap_err().to_string(), text);
            assert_eq!(layer.draw_indices(&x, train).unwrap_err().to_string(), text);
        }
        assert_eq!(layer.stream().map(Stream::step), Some(0));
    }
    let text = panic_text(move || drop(plain.forward_t(&nonzero(&[4]), true)));
    let expected = "PatchDropout needs an input of shape [N, T, ...], got [4]";
    assert_eq!(text, format!("PatchDropout(p=0.5, prefix_tokens=0): {expected}"));
}

#[test]
fn gathering_refuses_what_does_not_fit() {
    let _generator = seeded();
    let indices = Tensor::from_slice(&[0i64, 2, 1, 2]).reshape([2, 2]).to_device(device());
    for size in [&[][..], &[2], &[3, 4], &[3, 4, 5]] {
        let error = gather_tokens(&Tensor::zeros(size, float()), &indices).unwrap_err().to_string();
        let expected = "gather_tokens needs an input of shape [2, T, ...] or [1, T, ...], got";
        assert_eq!(error, format!("{expected} {size:?}"));
    }
    let x = nonzero(&[2, 4]);
    assert!(gather_tokens(&x, &indices.get(0)).is_err());
    assert!(gather_tokens(&x, &indices.to_kind(Kind::Float)).is_err());
    if device() == tch::Device::Cpu {
        // A GPU stops the program at an index out of range.
        assert!(gather_tokens(&x, &(indices + 2)).is_err());
    }
}

#[test]
fn the_batch_can_share_what_is_gathered() {
    let _generator = seeded();
    let indices = Tensor::from_slice(&[0i64, 2, 1, 2]).reshape([2, 2]).to_device(device());
    let shared = nonzero(&[1, 3, 5]);
    let gathered = gather_tokens(&shared, &indices).unwrap();
    assert_same_bits(&gathered, &gather_tokens(&shared.repeat([2, 1, 1]), &indices).unwrap());
}

#[test]
fn it_prints_itself() {
    let _generator = seeded();
    let layer = patch_dropout(0.5, 1).with_seed(7);
    assert_eq!(layer.prefix_tokens(), 1);
    assert_eq!(format!("{layer}"), "PatchDropout(p=0.5, prefix_tokens=1)");
    let text = "PatchDropout(p=0.5, prefix_tokens=1, seed=7, worker=0, layer=0, step=0)";
    assert_eq!(format!("{layer:?}"), text);
}

/// The mean over half of the tokens, drawn without replacement, has a variance known from sampling theory.
#[test]
fn it_draws_under_monte_carlo_folded_or_not() {
    let _generator = seeded();
    const PASSES: i64 = 20_000;
    let x = nonzero(&[3, 8, 2]).to_kind(Kind::Double);
    let layer = patch_dropout(0.5, 0);
    let model = |x: &Tensor, train| layer.forward_t(x, train).mean_dim([1].as_slice(), false, None);
    let mean = x.mean_dim([1].as_slice(), false, None);
    let variance = x.var_dim([1].as_slice(), true, false) / 4.0 * (1.0 - 4.0 / 8.0);
    for fold in [1, 50] {
        let found =
            MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap().regress(model, &x).unwrap();
        let deviation = (&variance / PASSES as f64).sqrt();
        let apart = ((found.mean - &mean) / deviation).abs().max().double_value(&[]);
        assert!(apart < 6.0, "fold {fold}: {apart} standard deviations");
        assert_close(&(found.variance / &variance), &variance.ones_like(), 0.1);
    }
}

#[test]
fn a_trace_draws_anew_for_batches_of_any_size() {
    let _generator = seeded();
    let layer = patch_dropout(0.5, 1);
    let mut closure = |inputs: &[Tensor]| vec![layer.forward_t(&inputs[0], true)];
    for rows in [1, 2] {
        let example = [nonzero(&[rows, 9, 2, 3])];
        let traced =
            CModule::create_by_tracing("model", "forward", &example, &mut closure).unwrap();
        let x = nonzero(&[50, 9, 2, 3]);
        let (first, second) =
            (traced.forward_ts(&[&x]).unwrap(), traced.forward_ts(&[&x]).unwrap());
        assert_eq!(first.size(), [50, 5, 2, 3]);
        assert_ne!(first, second);
        assert_same_bits(&first.select(1, 0), &x.select(1, 0));
        // Each kept token is one of its own sample, and they are in order.
        let is_token = first.unsqueeze(2).eq_tensor(&x.unsqueeze(1)).flatten(3, -1);
        let places = is_token.all_dim(3, false).to_kind(Kind::Int64);
        assert_eq!(count_kept(&places), 250.0);
        let places = places.argmax(2, false);
        assert_eq!(count_kept(&(places.narrow(1, 1, 4) - places.narrow(1, 0, 4)).gt(0)), 200.0);
    }
}
