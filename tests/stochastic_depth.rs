//! `StochasticDepth`: a residual branch that skips the samples that it would drop.

mod common;

use std::cell::{Cell, RefCell};

use common::{
    assert_binomial, assert_close, assert_same_bits, channels_last, count_kept, device, float,
    gradient, nonzero, panic_text, seeded,
};
use tch::nn::{self, Module, ModuleT};
use tch::{CModule, Kind, Tensor};
use tch_dropout::{
    Error, MonteCarlo, StochasticDepth, Stream, TrueDropout, stochastic_depth_rates,
};

fn depth(p: f64) -> StochasticDepth {
    StochasticDepth::new(p).unwrap()
}

/// The same without skipping: the branch computes the whole batch, and then samples are dropped.
fn unskipped(p: f64, x: &Tensor, branch: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let samples = TrueDropout::samples(p).unwrap().with_seed(7);
    x + samples.forward_t(&branch(x), true)
}

/// Which samples the layer of seed 7 keeps in its first step.
fn kept_samples(p: f64, n: i64) -> Tensor {
    let samples = TrueDropout::samples(p).unwrap().with_seed(7);
    samples.forward_t(&Tensor::ones([n], float()), true).nonzero().squeeze_dim(1)
}

#[test]
fn it_is_dropout_over_samples_for_the_same_seed() {
    let _generator = seeded();
    for size in [&[9][..], &[9, 5], &[9, 4, 5], &[9, 3, 6, 5], &[9, 2, 3, 4, 5]] {
        for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
            for p in [0.0, 0.2, 0.5, 0.8, 1.0] {
                let x = nonzero(size).to_kind(kind);
                let branch = |x: &Tensor| x.square() + 1.0;
                let y = depth(p).with_seed(7).forward(&x, branch, true);
                assert_same_bits(&y, &unskipped(p, &x, branch));
            }
        }
    }
}

/// In f64: the gradient of a bias before a norm is nothing but rounding.
#[test]
fn through_layers_it_is_the_same_to_rounding() {
    let _generator = seeded();
    let mut vs = nn::VarStore::new(device());
    let same = nn::ConvConfig { padding: 1, ..Default::default() };
    let conv = nn::conv2d(vs.root() / "conv", 3, 3, 3, same);
    let norm = nn::group_norm(vs.root() / "norm", 3, 3, Default::default());
    let branch = |x: &Tensor| norm.forward(&conv.forward(x)).relu();
    vs.double();
    let x = nonzero(&[16, 3, 8, 8]).to_kind(Kind::Double).set_requires_grad(true);
    let y = depth(0.5).with_seed(7).forward(&x, branch, true);
    let expected = unskipped(0.5, &x, branch);
    assert_close(&y, &expected, 1e-12);

    let weight = nonzero(&y.size());
    let gradients = |y: &Tensor| {
        Tensor::run_backward(
            &[&(y * &weight).sum(None)],
            &[&x, &conv.ws, conv.bs.as_ref().unwrap()],
            true,
            false,
        )
    };
    for (ours, theirs) in gradients(&y).iter().zip(gradients(&expected)) {
        assert_close(ours, &theirs, 1e-10);
    }
}

#[test]
fn the_branch_sees_the_kept_samples_only() {
    let _generator = seeded();
    let x = nonzero(&[20, 3]);
    let expected = x.index_select(0, &kept_samples(0.5, 20));
    let calls = Cell::new(0);
    let branch = |kept: &Tensor| {
        calls.set(calls.get() + 1);
        assert_same_bits(kept, &expected);
        kept * 3.0
    };
    let y = depth(0.5).with_seed(7).forward(&x, branch, true);
    assert_eq!(calls.get(), 1);
    assert!((2..19).contains(&expected.size()[0]));
    assert_same_bits(
        &y.index_select(0, &kept_samples(0.5, 20)),
        &(&expected + &expected * 3.0 * 2.0),
    );
}

/// With fewer than two kept, as many dropped ones make up for them, and count for nothing.
#[test]
fn the_branch_sees_two_samples_at_least() {
    let _generator = seeded();
    for (p, batch) in [(1.0, false), (1.0, true), (0.9, false), (0.7, true)] {
        for n in [1, 2, 3, 20] {
            let x = nonzero(&[n, 3]).set_requires_grad(true);
            let weight = nonzero(&[3]).set_requires_grad(true);
            let layer = if batch { StochasticDepth::batch(p) } else { StochasticDepth::new(p) };
            let layer = layer.unwrap().with_seed(7);
            for step in 0..50 {
                layer.stream().unwrap().set_step(step).unwrap();
                let mask = TrueDropout::samples(p).unwrap();
                let mask = if batch { TrueDropout::batch(p).unwrap() } else { mask }.with_seed(7);
                mask.stream().unwrap().set_step(step).unwrap();
                let mask = mask.draw_mask(&x, true).unwrap();
                let factors = mask.expand([n, 1], false);
                let seen = RefCell::new(None);
                let branch = |some: &Tensor| {
                    seen.replace(Some(some.detach()));
                    some * &weight
                };
                let y = layer.forward(&x, branch, true);
                assert_close(&y, &(&x + &x * &weight * &factors), 1e-6);
                let seen = seen.into_inner().expect("the branch runs");
                let kept = count_kept(&factors) as i64;
                assert_eq!(seen.size(), [kept.max(n.min(2)), 3]);
                let is_row = seen.unsqueeze(1).eq_tensor(&x).all_dim(2, false);
                let rows = is_row.to_kind(Kind::Int64).argmax(1, false);
                assert_same_bits(&seen, &x.detach().index_select(0, &rows));
                let rows = Vec::<i64>::try_from(rows).unwrap();
                assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
                let of_weight = gradient(&y.sum(None), &weight);
                let expected = (&x * &factors).sum_dim_intlist(0, false, None);
                assert_close(&of_weight, &expected, 1e-5);
            }
        }
    }
}

/// A batch's variance over one value is 0 / 0, and one such step leaves NaN in the running variance for good.
#[test]
fn batch_norm_in_the_branch_keeps_finite_statistics() {
    let _generator = seeded();
    for batch in [false, true] {
        let vs = nn::VarStore::new(device());
        let norm = nn::batch_norm1d(vs.root(), 8, Default::default());
        let layer = if batch { StochasticDepth::batch(0.5) } else { StochasticDepth::new(0.5) };
        let layer = layer.unwrap().with_seed(1);
        for _ in 0..200 {
            let x = Tensor::randn([8, 8], float());
            drop(layer.forward(&x, |some| norm.forward_t(some, true), true));
            for (name, variable) in vs.variables() {
                assert!(bool::try_from(variable.isfinite().all()).unwrap(), "{name}");
            }
        }
        // The mean of unbiased estimates, weighted by a momentum of 0.1: their standard deviation is at most 0.33.
        let apart = (norm.running_var - 1.0).abs().max().double_value(&[]);
        assert!(apart < 2.0, "batch {batch}: {apart}");
    }
}

/// As data-parallel training asks for them.
#[test]
fn all_parameters_have_gradients_in_every_step() {
    let _generator = seeded();
    for batch in [false, true] {
        let vs = nn::VarStore::new(device());
        let layers: Vec<_> = (0..2)
            .map(|i| {
                let linear = nn::linear(vs.root() / i, 3, 3, Default::default());
                let depth =
                    if batch { StochasticDepth::batch(0.5) } else { StochasticDepth::new(0.5) };
                (linear, depth.unwrap())
            })
            .collect();
        let parameters = vs.trainable_variables();
        for n in [1, 2, 5] {
            for _ in 0..20 {
                let y = layers.iter().fold(nonzero(&[n, 3]), |x, (linear, depth)| {
                    depth.forward(&x, |some| linear.forward(some), true)
                });
                let loss = y.sum(None);
                for gradient in Tensor::run_backward(&[&loss], &parameters, false, false) {
                    assert!(gradient.defined());
                }
            }
        }
    }
}

/// However many samples the branch sees.
#[test]
fn second_derivatives_are_those_of_the_masked_sum() {
    let _generator = seeded();
    for (p, batch) in [(0.5, false), (0.9, false), (1.0, false), (0.5, true), (1.0, true)] {
        let x = nonzero(&[6, 3]).to_kind(Kind::Double).set_requires_grad(true);
        let layer = if batch { StochasticDepth::batch(p) } else { StochasticDepth::new(p) };
        let layer = layer.unwrap().with_seed(5);
        let mask = if batch { TrueDropout::batch(p) } else { TrueDropout::samples(p) };
        let mask = mask.unwrap().with_seed(5).draw_mask(&x, true).unwrap();
        let y = layer.forward(&x, |x| x.pow_tensor_scalar(3), true);
        let first = Tensor::run_backward(&[y.sum(None)], &[&x], true, true);
        let second = gradient(&first[0].sum(None), &x);
        let x = x.detach();
        assert_close(&first[0].detach(), &(x.square() * 3.0 * &mask + 1.0), 1e-12);
        assert_close(&second, &(&x * 6.0 * &mask), 1e-12);
    }
}

/// In evaluation, and where no sample happens to be dropped.
#[test]
fn with_all_kept_the_branch_gets_the_batch_itself() {
    let _generator = seeded();
    let x = nonzero(&[20, 3]);
    let rare = depth(1e-12);
    for (layer, train, scale) in
        [(&rare, true, 1.0), (&depth(0.5), false, 1.0), (&depth(0.0), true, 1.0)]
    {
        let branch = |all: &Tensor| {
            assert_eq!(all.data_ptr(), x.data_ptr());
            all * 3.0
        };
        assert_same_bits(&layer.forward(&x, branch, train), &(&x + &x * (3.0 * scale)));
    }
}

#[test]
fn a_batch_is_kept_or_dropped_as_a_whole() {
    let _generator = seeded();
    let x = nonzero(&[4, 3]);
    let layer = StochasticDepth::batch(0.3).unwrap();
    let (runs, kept) = (Cell::new(0), Cell::new(0));
    let branch = |seen: &Tensor| {
        runs.set(runs.get() + 1);
        match seen.data_ptr() == x.data_ptr() {
            true => kept.set(kept.get() + 1),
            false => assert_same_bits(seen, &x.narrow(0, 0, 2)),
        }
        seen * 3.0
    };
    for _ in 0..2000 {
        let before = kept.get();
        let y = layer.forward(&x, branch, true);
        let scale = if kept.get() > before { 1.0 / 0.7 } else { 0.0 };
        assert_close(&y, &(&x + &x * (3.0 * scale)), 1e-5);
    }
    assert_eq!(runs.get(), 2000);
    assert_binomial(f64::from(kept.get()), 2000.0, 0.7);
    // Without samples, all of it.
    let number = Tensor::from(2f32).to_device(device());
    for _ in 0..20 {
        let y = layer.forward(&number, |all| all * 3.5, true).double_value(&[]);
        assert!(y == 2.0 || (y - 12.0).abs() < 1e-5, "{y}");
    }
}

#[test]
fn the_memory_format_stays_in_the_branch_too() {
    let _generator = seeded();
    let inputs = [
        channels_last(&nonzero(&[8, 3, 5, 4])),
        nonzero(&[5, 8, 4]).transpose(0, 1),
        nonzero(&[4, 8]).tr(),
        nonzero(&[2, 3, 4, 8, 5]).permute([3, 4, 0, 1, 2]),
    ];
    for x in inputs {
        assert!(!x.is_contiguous());
        let fewer = (x.narrow(0, 0, kept_samples(0.5, 8).size()[0]) * 1.0).stride();
        let branch = |kept: &Tensor| {
            assert_eq!(kept.stride(), fewer);
            kept * 3.0
        };
        let y = depth(0.5).with_seed(7).forward(&x, branch, true);
        assert_eq!(y.stride(), x.stride());
        assert_same_bits(&y, &unskipped(0.5, &x, |x| x * 3.0));
    }
    let gaps = nonzero(&[8, 6]).slice(1, 0, None, 2);
    let expanded = nonzero(&[1, 6]).expand([8, 6], false);
    for x in [gaps, expanded] {
        let y = depth(0.5).with_seed(7).forward(&x, |kept| kept * 3.0, true);
        assert_same_bits(&y, &unskipped(0.5, &x, |x| x * 3.0));
    }
}

/// As `x + branch(x)` has it.
#[test]
fn the_sum_has_the_wider_kind() {
    let _generator = seeded();
    for (x, branch) in [
        (Kind::Half, Kind::Float),
        (Kind::Float, Kind::Half),
        (Kind::Float, Kind::Double),
        (Kind::Int64, Kind::Float),
    ] {
        let x = (nonzero(&[9, 5]) * 10.0).to_kind(x);
        let branch = |x: &Tensor| x.to_kind(branch) * 3.0;
        for p in [0.0, 0.5] {
            let y = depth(p).with_seed(7).forward(&x, branch, true);
            assert_same_bits(&y, &unskipped(p, &x, branch));
        }
    }
}

#[test]
fn the_seed_decides_and_evaluation_takes_no_step() {
    let _generator = seeded();
    let x = nonzero(&[40, 3]);
    let layer = depth(0.5).with_stream(Stream::new(7).with_layer(2));
    let forward = |train| layer.forward(&x, |kept| kept * 3.0, train);
    assert_same_bits(&forward(false), &(&x + &x * 3.0));
    let empty = Tensor::zeros([0, 3], float());
    assert_eq!(layer.forward(&empty, |x| x * 3.0, true).size(), [0, 3]);
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    let first = forward(true);
    assert_ne!(first, forward(true));
    assert_eq!(layer.stream().map(Stream::step), Some(2));
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&forward(true), &first);
    layer.set_p(0.0).unwrap();
    assert_same_bits(&forward(true), &(&x + &x * 3.0));
    assert_eq!(layer.stream().map(Stream::step), Some(1));
}

#[test]
fn bad_input_is_an_error_and_takes_no_step() {
    let _generator = seeded();
    assert!(matches!(StochasticDepth::new(-0.1), Err(Error::Probability(_))));
    assert!(matches!(StochasticDepth::batch(f64::NAN), Err(Error::Probability(_))));
    let layer = depth(0.5).with_seed(7);
    let cases = [
        (
            Tensor::from(1f32),
            "noise shape `samples` needs an input with at least 1 dimension, got shape []",
        ),
        (
            nonzero(&[2, 3]).to_sparse_sparse_dim(2),
            "dropout is defined for strided tensors only, got a sparse, nested or oneDNN tensor",
        ),
    ];
    for (x, text) in cases {
        for train in [true, false] {
            let error = layer.f_forward(&x, |_| panic!("not reached"), train).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
    assert_eq!(layer.stream().map(Stream::step), Some(0));
}

#[test]
fn a_branch_of_another_shape_is_an_error_whatever_is_kept() {
    let _generator = seeded();
    let x = nonzero(&[9, 5]);
    let branch = |kept: &Tensor| Ok(kept.narrow(1, 0, 1));
    let k = kept_samples(0.5, 9).size()[0];
    for (layer, train, rows) in
        [(depth(0.5), true, k), (depth(0.5), false, 9), (depth(1e-12), true, 9)]
    {
        let error = layer.with_seed(7).f_forward(&x, branch, train).unwrap_err().to_string();
        let text = "the branch must return a tensor of its input's shape";
        assert_eq!(error, format!("{text} [{rows}, 5], got [{rows}, 1]"));
    }
    let layer = depth(0.0);
    let text = panic_text(move || drop(layer.forward(&x, |x| x.get(0), true)));
    let expected = "the branch must return a tensor of its input's shape [9, 5], got [5]";
    assert_eq!(text, format!("StochasticDepth(p=0.0, samples): {expected}"));
}

#[test]
fn an_error_of_the_branch_comes_back() {
    let _generator = seeded();
    let x = nonzero(&[9, 5]);
    let weight = nonzero(&[4, 4]);
    for train in [true, false] {
        let error = depth(0.5).f_forward(&x, |kept| Ok(kept.f_matmul(&weight)?), train);
        assert!(matches!(error, Err(Error::Torch(_))));
    }
}

#[test]
fn it_prints_itself() {
    let _generator = seeded();
    let (rows, batch) = (depth(0.1), StochasticDepth::batch(0.25).unwrap());
    assert_eq!(format!("{rows}"), "StochasticDepth(p=0.1, samples)");
    assert_eq!(format!("{rows:?}"), "StochasticDepth(p=0.1, samples)");
    assert_eq!(format!("{batch:?}"), "StochasticDepth(p=0.25, batch)");
}

/// A model with a layer in the branch, which sees all samples in each pass, so that passes can be folded.
#[test]
fn it_draws_under_monte_carlo_folded_or_not() {
    let _generator = seeded();
    const PASSES: i64 = 40_000;
    let (p, q) = (0.3, 0.2);
    let x = nonzero(&[3, 4]).to_kind(Kind::Double);
    for batch in [false, true] {
        let layer =
            if batch { StochasticDepth::batch(p) } else { StochasticDepth::new(p) }.unwrap();
        let inner = TrueDropout::elements(q).unwrap();
        let model =
            |x: &Tensor, train| layer.forward(x, |all| inner.forward_t(&(all * 2.0), train), train);
        for fold in [1, 100] {
            let run = MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap();
            let found = run.regress(model, &x).unwrap();
            // Two masks, one after the other, keep a share of (1 - p)(1 - q).
            let share = (1.0 - p) * (1.0 - q);
            let variance = (&x * 2.0).square() * ((1.0 - share) / share);
            let deviation = (&variance / PASSES as f64).sqrt();
            let apart = ((found.mean - &x * 3.0) / deviation).abs().max().double_value(&[]);
            assert!(apart < 6.0, "batch {batch}, fold {fold}: {apart} standard deviations");
            assert_close(&(found.variance / variance), &x.ones_like(), 0.1);
        }
    }
}

#[test]
fn in_folded_passes_each_row_has_its_own_draw() {
    let _generator = seeded();
    let x = Tensor::zeros([2, 1], float());
    let rows = RefCell::new(Vec::new());
    let layer = depth(0.5);
    let model = |x: &Tensor, train| {
        let y = layer.forward(x, |all| all.ones_like(), train);
        rows.borrow_mut().extend(Vec::<f64>::try_from(y.reshape([-1])).unwrap());
        y
    };
    MonteCarlo::new(1001).unwrap().fold(1000).unwrap().regress(model, &x).unwrap();
    let rows = rows.into_inner();
    assert_binomial(rows.iter().filter(|&&row| row == 2.0).count() as f64, 2002.0, 0.5);
    let alike = rows.chunks(2).filter(|pair| pair[0] == pair[1]).count();
    assert_binomial(alike as f64, 1001.0, 0.5);
}

#[test]
fn a_trace_serves_any_draw() {
    let _generator = seeded();
    let x = Tensor::ones([1000, 2], float());
    for (layer, draws) in [(depth(0.5), 1000.0), (StochasticDepth::batch(0.5).unwrap(), 1.0)] {
        // One row is all or nothing: some of these are traced while it is dropped, and some while it is kept.
        for _ in 0..10 {
            let mut closure =
                |inputs: &[Tensor]| vec![layer.forward(&inputs[0], |x| x * 3.0, true)];
            let example = [Tensor::ones([1, 2], float())];
            let traced =
                CModule::create_by_tracing("model", "forward", &example, &mut closure).unwrap();
            let outputs: Vec<_> = (0..100).map(|_| traced.forward_ts(&[&x]).unwrap()).collect();
            let outputs = Tensor::stack(&outputs, 0);
            assert_eq!(
                count_kept(&outputs.eq(1)) + count_kept(&outputs.eq(7)),
                outputs.numel() as f64
            );
            let runs = outputs.select(2, 0).eq(7);
            assert_binomial(count_kept(&runs) * draws / 1000.0, 100.0 * draws, 0.5);
        }
    }
}

/// The rates of timm, of Huang et al. and of torchvision's EfficientNet, each by its own formula.
#[test]
fn rates_rise_in_a_straight_line() {
    let _generator = seeded();
    for depth in [1, 2, 5, 24] {
        for p in [0.0, 0.1, 0.5, 1.0] {
            let rates: Vec<f64> = stochastic_depth_rates(p, depth).collect();
            let linspace = Tensor::linspace(0.0, p, depth as i64, (Kind::Double, device()));
            assert_close(&Tensor::from_slice(&rates).to_device(device()), &linspace, 1e-15);
            assert_eq!(rates[0], 0.0);
            assert!(rates.iter().all(|&rate| StochasticDepth::new(rate).is_ok()));
            if depth > 1 {
                assert_eq!(rates[depth - 1], p);
            }
            let one_more = || stochastic_depth_rates(p, depth + 1);
            let is_close = |rate: f64, expected: f64| (rate - expected).abs() < 1e-15;
            for (l, rate) in (1..).zip(one_more().skip(1)) {
                assert!(is_close(rate, p * f64::from(l) / depth as f64));
            }
            for (i, rate) in (0..).zip(one_more().take(depth)) {
                assert!(is_close(rate, p * f64::from(i) / depth as f64));
            }
        }
    }
    // None is above p, and the last one is p, however p is rounded.
    for depth in 2..60 {
        for p in (0..=100).map(|percent| f64::from(percent) / 100.0) {
            let rates: Vec<f64> = stochastic_depth_rates(p, depth).collect();
            assert!(rates.is_sorted());
            assert_eq!(rates[depth - 1], p);
        }
    }
    assert_eq!(stochastic_depth_rates(0.5, 0).count(), 0);
}
