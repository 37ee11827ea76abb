//! `DropBlock`, held to torchvision's `drop_block2d` and `drop_block3d` and to the paper.

mod common;

use common::{
    assert_binomial, assert_close, assert_same_bits, channels_last, count_kept, device, float,
    gradient, nonzero, panic_text, seeded,
};
use tch::nn::ModuleT;
use tch::{CModule, Kind, Tensor};
use tch_dropout::{DropBlock, Dropout, Error, MonteCarlo, Stream};

/// Two inputs of each number of dimensions, with blocks up to the whole map and larger.
const CASES: [(&[i64], i64); 13] = [
    (&[3, 4, 20], 1),
    (&[3, 4, 20], 5),
    (&[3, 4, 7], 7),
    (&[2, 3, 9, 12], 1),
    (&[2, 3, 9, 12], 3),
    (&[2, 3, 9, 12], 7),
    (&[2, 3, 5, 12], 5),
    (&[2, 3, 5, 12], 99),
    (&[2, 3, 12, 5], 7),
    (&[2, 3, 1, 6], 3),
    (&[2, 2, 5, 6, 7], 3),
    (&[2, 2, 5, 6, 7], 5),
    (&[2, 2, 3, 6, 7], 9),
];

fn drop_block(p: f64, block_size: i64) -> DropBlock {
    DropBlock::new(p, block_size).unwrap()
}

fn clamped(block: i64, size: &[i64]) -> i64 {
    size[2..].iter().fold(block, |block, &n| block.min(n))
}

/// torchvision's gamma.
fn gamma(p: f64, size: &[i64], block: i64) -> f64 {
    let product = |f: &dyn Fn(i64) -> i64| size[2..].iter().map(|&n| f(n) as f64).product::<f64>();
    p * product(&|n| n) / (product(&|_| block) * product(&|n| n - block + 1))
}

/// The seeds that a layer with stream 7 draws in its first step: 1 where a block is dropped.
fn seeds(p: f64, size: &[i64], block: i64) -> Tensor {
    let kept = Dropout::elements(gamma(p, size, block)).unwrap().with_seed(7);
    let all = kept.forward_t(&Tensor::ones(size, float()), true).eq(0).to_kind(Kind::Float);
    (2..).zip(&size[2..]).fold(all, |seeds, (dim, &n)| seeds.narrow(dim, 0, n - block + 1))
}

/// torchvision's recipe, for given seeds.
fn torchvision(x: &Tensor, seeds: &Tensor, block: i64) -> Tensor {
    let half = block / 2;
    let padded = seeds.pad(vec![half; 2 * (x.dim() - 2)], "constant", 0.0);
    let blocks = match x.dim() {
        3 => padded.max_pool1d([block], [1], [half], [1], false),
        4 => padded.max_pool2d([block; 2], [1; 2], [half; 2], [1; 2], false),
        _ => padded.max_pool3d([block; 3], [1; 3], [half; 3], [1; 3], false),
    };
    let noise = blocks.eq(0).to_kind(x.kind());
    let scale = noise.numel() as f64 / (noise.sum(Kind::Double).double_value(&[]) + 1e-6);
    x * noise * scale
}

#[test]
fn it_is_torchvisions_for_the_same_seeds() {
    let _generator = seeded();
    for (size, block) in CASES {
        let clamped = clamped(block, size);
        for p in [0.1, 0.4] {
            for kind in [Kind::Float, Kind::Double] {
                let x = nonzero(size).to_kind(kind);
                let y = drop_block(p, block).with_seed(7).forward_t(&x, true);
                let expected = torchvision(&x, &seeds(p, size, clamped), clamped);
                assert_eq!(y.ne(0), expected.ne(0), "{size:?}, {block}, {p}");
                assert_eq!(y.kind(), kind);
                // torchvision adds 1e-6 to the number of kept elements.
                assert!(y.allclose(&expected, 3e-7, 0.0, false), "{size:?}, {block}, {p}");
            }
        }
    }
}

/// For even blocks too, which torchvision has not.
#[test]
fn each_seed_drops_one_whole_block() {
    let _generator = seeded();
    for (size, _) in CASES {
        for block in 1..=clamped(10, size) {
            let p = 0.2;
            let x = nonzero(size);
            let seeds = seeds(p, size, block);
            let expected = Tensor::ones(size, float());
            for corner in Vec::<Vec<i64>>::try_from(seeds.nonzero()).unwrap() {
                let sample_and_channel = expected.get(corner[0]).get(corner[1]);
                let dropped = (0..).zip(&corner[2..]);
                let _ = dropped
                    .fold(sample_and_channel, |part, (dim, &at)| part.narrow(dim, at, block))
                    .zero_();
            }
            let y = drop_block(p, block).with_seed(7).forward_t(&x, true);
            assert_eq!(y.ne(0).to_kind(Kind::Float), expected, "{size:?}, {block}");
        }
    }
}

#[test]
fn a_block_of_one_element_is_dropout_over_elements() {
    let _generator = seeded();
    let x = Tensor::ones([30, 20, 6, 7], float());
    let y = drop_block(0.3, 1).with_seed(3).forward_t(&x, true);
    let elements = Dropout::elements(0.3).unwrap().with_seed(3);
    assert_eq!(y.ne(0), elements.forward_t(&x, true).ne(0));
}

#[test]
fn a_block_as_large_as_the_map_drops_it_with_probability_p() {
    let _generator = seeded();
    let x = Tensor::ones([100, 200, 3, 3], float());
    for block in [3, 4, 1 << 40] {
        let y = drop_block(0.3, block).forward_t(&x, true);
        let whole = count_kept(&y.amax([2, 3], false));
        assert_eq!(count_kept(&y), 9.0 * whole);
        assert_binomial(whole, 20_000.0, 0.7);
    }
}

#[test]
fn the_sum_over_the_batch_stays() {
    let _generator = seeded();
    let x = Tensor::ones([4, 3, 12, 12], (Kind::Double, device()));
    let layer = drop_block(0.3, 4).with_seed(1);
    for _ in 0..10 {
        let y = layer.forward_t(&x, true);
        let sum = y.sum(None).double_value(&[]) / y.numel() as f64;
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }
}

#[test]
fn the_gradient_is_the_rescaled_mask() {
    let _generator = seeded();
    let layer = drop_block(0.3, 3).with_seed(1);
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        let x = nonzero(&[4, 3, 12, 12]).to_kind(kind).set_requires_grad(true);
        let y = layer.forward_t(&x, true);
        layer.stream().unwrap().set_step(layer.stream().unwrap().step() - 1).unwrap();
        let mask = layer.forward_t(&x.ones_like(), true);
        let weight = nonzero(&x.size()).to_kind(kind);
        assert_same_bits(&gradient(&(&y * &weight).sum(kind), &x), &(&weight * &mask));
        assert_same_bits(&y, &(&x * &mask));
    }
    let x = nonzero(&[2, 2, 6, 6]).to_kind(Kind::Double).set_requires_grad(true);
    let y = layer.forward_t(&x.square(), true);
    let mask = (&y / x.square()).detach();
    let second = gradient(&gradient(&y.sum(None), &x).sum(None), &x);
    assert_close(&second, &(mask * 2.0), 1e-12);
}

#[test]
fn every_float_and_complex_kind_keeps_its_kind_and_has_the_same_blocks() {
    let _generator = seeded();
    let x = nonzero(&[4, 3, 12, 12]);
    let forward = |x: &Tensor| drop_block(0.3, 3).with_seed(1).forward_t(x, true);
    let expected = forward(&x.to_kind(Kind::Double));
    for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Half, 4e-3), (Kind::BFloat16, 3e-2)] {
        let y = forward(&x.to_kind(kind));
        assert_eq!(y.kind(), kind);
        assert_eq!(y.ne(0), expected.ne(0));
        assert_close(&y.to_kind(Kind::Double), &expected, tolerance);
    }
    for kind in [Kind::ComplexFloat, Kind::ComplexDouble] {
        let y = forward(&x.to_kind(kind));
        assert_eq!(y.kind(), kind);
        assert_close(&y.real().to_kind(Kind::Double), &expected, 1e-6);
    }
}

#[test]
fn the_memory_format_stays() {
    let _generator = seeded();
    let x = nonzero(&[4, 5, 9, 8]);
    let wide = nonzero(&[4, 5, 9, 16]);
    let inputs = [
        channels_last(&x),
        nonzero(&[9, 4, 8, 5]).permute([1, 3, 0, 2]),
        wide.slice(3, 0, None, 2),
        nonzero(&[5, 9, 8]).expand([4, 5, 9, 8], false),
        nonzero(&[2, 3, 4, 5, 6]).permute([0, 4, 1, 2, 3]),
    ];
    for x in inputs {
        assert!(!x.is_contiguous());
        let layer = || drop_block(0.3, 3).with_seed(1);
        let y = layer().forward_t(&x, true);
        assert_same_bits(&y, &layer().forward_t(&x.contiguous(), true));
        assert_eq!(y.stride(), (&x * 1.0).stride());
    }
}

#[test]
fn with_everything_dropped_there_are_zeros() {
    let _generator = seeded();
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        let x = nonzero(&[4, 5, 7, 7]).to_kind(kind).set_requires_grad(true);
        for block in [7, 8] {
            let y = drop_block(1.0, block).forward_t(&x, true);
            assert_same_bits(&y, &x.zeros_like());
            assert_same_bits(&gradient(&y.sum(kind), &x), &x.zeros_like());
        }
        // Of a larger map, blocks leave something over.
        let y = drop_block(1.0, 4).with_seed(1).forward_t(&x, true);
        assert!(count_kept(&y) > 0.0 && count_kept(&y) < 600.0);
        assert!(bool::try_from(y.isfinite().all()).unwrap());
    }
}

/// In half precision, the scale may be infinite; 0 times it would be NaN.
#[test]
fn a_scale_that_is_too_large_leaves_zeros_alone() {
    let _generator = seeded();
    let x = Tensor::ones([1, 1, 300, 300], (Kind::Half, device()));
    let layer = drop_block(1.0 - 1e-5, 1).with_seed(1);
    let few = (0..100).map(|_| layer.forward_t(&x, true)).find(|y| count_kept(y) == 1.0);
    let y = few.expect("a mask that keeps one element");
    assert_eq!(y.max().double_value(&[]), f64::INFINITY);
    assert_eq!(count_kept(&y.eq(0)), 89_999.0);
}

#[test]
fn nothing_to_do_returns_the_input_itself_and_draws_nothing() {
    let _generator = seeded();
    let x = nonzero(&[4, 3, 6, 6]);
    let layer = drop_block(0.5, 3).with_seed(1);
    let same = |layer: &DropBlock, x: &Tensor, train| {
        let y = layer.forward_t(x, train);
        assert_eq!((y.data_ptr(), y.size()), (x.data_ptr(), x.size()));
    };
    same(&layer, &x, false);
    for size in [[0, 3, 6, 6], [4, 0, 6, 6], [4, 3, 0, 6], [4, 3, 6, 0]] {
        same(&layer, &Tensor::zeros(size, float()), true);
    }
    layer.set_p(0.0).unwrap();
    same(&layer, &x, true);
    assert_eq!(layer.stream().map(Stream::step), Some(0));
}

#[test]
fn a_schedule_changes_gamma() {
    let _generator = seeded();
    let size = [2, 3, 9, 12];
    let x = nonzero(&size);
    let layer = drop_block(0.0, 3).with_seed(7);
    layer.set_p(0.4).unwrap();
    assert_eq!(layer.p(), 0.4);
    let expected = torchvision(&x, &seeds(0.4, &size, 3), 3);
    assert_close(&layer.forward_t(&x, true), &expected, 1e-5);
    assert!(layer.set_p(1.5).is_err());
}

#[test]
fn the_seed_decides() {
    let _generator = seeded();
    let x = nonzero(&[4, 3, 12, 12]);
    let layer = drop_block(0.4, 3).with_stream(Stream::new(7).with_worker(1));
    let (first, second) = (layer.forward_t(&x, true), layer.forward_t(&x, true));
    assert_ne!(first, second);
    assert_eq!(layer.stream().map(Stream::step), Some(2));
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &first);

    let unseeded = || {
        tch::manual_seed(5);
        drop_block(0.4, 3).forward_t(&x, true)
    };
    assert_same_bits(&unseeded(), &unseeded());
}

#[test]
fn bad_input_is_an_error_and_takes_no_step() {
    let _generator = seeded();
    assert!(matches!(DropBlock::new(1.5, 3), Err(Error::Probability(1.5))));
    for block_size in [0, -7] {
        let error = DropBlock::new(0.5, block_size).unwrap_err().to_string();
        assert_eq!(error, format!("block_size must be at least 1, got {block_size}"));
    }
    let layer = drop_block(0.5, 3).with_seed(1);
    for size in [&[][..], &[3], &[3, 4], &[1, 2, 3, 4, 5, 6], &[0, 3]] {
        let x = Tensor::ones(size, float());
        for train in [true, false] {
            let error = layer.f_forward_t(&x, train).unwrap_err().to_string();
            let shapes = "[N, C, L], [N, C, H, W] or [N, C, D, H, W]";
            assert_eq!(error, format!("DropBlock needs an input of shape {shapes}, got {size:?}"));
        }
    }
    let panicking = layer.clone();
    let text = panic_text(move || drop(panicking.forward_t(&Tensor::ones([3], float()), true)));
    assert!(text.ends_with("or [N, C, D, H, W], got [3]"), "{text}");
    for (x, text) in [
        (
            Tensor::ones([1, 2, 3], (Kind::Int64, device())),
            "dropout is not defined for tensors of kind Int64",
        ),
        (
            nonzero(&[1, 2, 3]).to_sparse_sparse_dim(3),
            "dropout is defined for strided tensors only, got a sparse, nested or oneDNN tensor",
        ),
    ] {
        for train in [true, false] {
            assert_eq!(layer.f_forward_t(&x, train).unwrap_err().to_string(), text);
        }
    }
    assert_eq!(layer.stream().map(Stream::step), Some(0));
}

#[test]
fn it_prints_itself() {
    let _generator = seeded();
    let layer = drop_block(0.1, 7).with_seed(1);
    assert_eq!(format!("{layer}"), "DropBlock(p=0.1, block_size=7)");
    let text = "DropBlock(p=0.1, block_size=7, seed=1, worker=0, layer=0, step=0)";
    assert_eq!(format!("{layer:?}"), text);
}

/// In folded passes, each pass is what it would be alone: rescaled by what it dropped itself.
#[test]
fn folded_passes_are_rescaled_each_by_itself() {
    let _generator = seeded();
    const ROWS: i64 = 2;
    let layer = drop_block(0.4, 3);
    let x = Tensor::ones([ROWS, 1, 6, 6], (Kind::Double, device()));
    for fold in [1, 4] {
        let run = MonteCarlo::new(41).unwrap().fold(fold).unwrap();
        let mut shares = Vec::new();
        let model = |x: &Tensor, train: bool| {
            assert!(!train);
            let y = layer.forward_t(x, train);
            for pass in y.reshape([-1, ROWS * 36]).unbind(0) {
                assert!(
                    (pass.sum(None).double_value(&[]) / pass.numel() as f64 - 1.0).abs() < 1e-12
                );
                shares.push(count_kept(&pass));
            }
            y.reshape([-1, 36])
        };
        let found = run.regress(model, &x).unwrap();
        // At last, with more than one pass at a time, two copies of which nothing is dropped.
        shares.truncate(41);
        assert_eq!(shares.len(), 41);
        assert!(shares.iter().any(|&share| share != shares[0]), "each pass has its own blocks");
        assert!(found.variance.min().double_value(&[]) > 0.0);
    }
}

/// Folding changes no distribution: mean and variance agree with those of single passes.
#[test]
fn folded_and_single_passes_agree() {
    let _generator = seeded();
    let layer = drop_block(0.3, 2);
    let x = Tensor::ones([1, 2, 4, 4], (Kind::Double, device()));
    let model = |x: &Tensor, train| layer.forward_t(x, train).flatten(1, -1);
    let run = |fold| {
        let found =
            MonteCarlo::new(40_000).unwrap().fold(fold).unwrap().regress(model, &x).unwrap();
        (found.mean, found.variance)
    };
    let ((mean, variance), (folded_mean, folded_variance)) = (run(1), run(100));
    let deviation = (&variance * 2.0 / 40_000.0).sqrt();
    let apart = ((mean - folded_mean) / deviation).abs().max().double_value(&[]);
    assert!(apart < 6.0, "{apart} standard deviations");
    assert_close(
        &(folded_variance / variance),
        &Tensor::ones([1, 32], (Kind::Double, device())),
        0.1,
    );
}

#[test]
fn a_trace_draws_new_blocks_for_batches_of_any_size() {
    let _generator = seeded();
    let layer = drop_block(0.4, 3);
    let example = Tensor::ones([2, 3, 12, 12], float());
    let mut closure = |inputs: &[Tensor]| vec![layer.forward_t(&inputs[0], true)];
    let traced = CModule::create_by_tracing("model", "forward", &[example], &mut closure).unwrap();
    let x = Tensor::ones([50, 3, 12, 12], float());
    let (first, second) = (traced.forward_ts(&[&x]).unwrap(), traced.forward_ts(&[&x]).unwrap());
    assert_ne!(first, second);
    assert!((first.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-5);
    let share = count_kept(&first) / first.numel() as f64;
    assert!((0.6..0.75).contains(&share), "{share}");

    let seeded = drop_block(0.4, 3).with_seed(1);
    assert!(trace_error(&seeded, &x).contains("cannot be traced in training"));
    assert_eq!(seeded.stream().map(Stream::step), Some(0));
}

fn trace_error(layer: &DropBlock, x: &Tensor) -> String {
    let mut text = String::new();
    let mut closure = |inputs: &[Tensor]| {
        text = layer.f_forward_t(&inputs[0], true).unwrap_err().to_string();
        vec![&inputs[0] * 1.0]
    };
    let _ = CModule::create_by_tracing("model", "forward", &[x.shallow_clone()], &mut closure);
    text
}
