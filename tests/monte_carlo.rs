//! Monte Carlo dropout: what it computes, what it switches on, what it leaves behind.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};

use common::{assert_same_bits, nonzero, FLOAT};
use tch::nn::{self, Module, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{
    drop_connect, monte_carlo, DropConnectConfig, Dropout, Error, MonteCarlo, NoiseShape,
    Prediction, TrueDropout,
};

fn elements() -> TrueDropout {
    TrueDropout::new(0.5).unwrap().noise_shape(NoiseShape::Elements)
}

#[track_caller]
fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = (actual - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "{difference} apart:\n{actual}\n{expected}");
}

/// A model that gives these probabilities, pass after pass.
fn passes_of<const N: usize>(passes: [&[f64]; N], classes: i64) -> Prediction {
    let next = Cell::new(0);
    let model = |x: &Tensor, _| {
        let logits = Tensor::from_slice(passes[next.replace(next.get() + 1)]).log();
        logits.reshape([x.size()[0], classes])
    };
    let rows = passes[0].len() as i64 / classes;
    let x = Tensor::ones([rows, 1], FLOAT);
    MonteCarlo::new(N as i64).unwrap().train(true).predict(model, &x).unwrap()
}

#[test]
fn entropies_are_those_computed_by_hand() {
    // In bits: a coin that is half sure, two passes that contradict each other, two that agree.
    let found = passes_of([&[0.9, 0.1, 1.0, 0.0, 0.3, 0.7], &[0.5, 0.5, 0.0, 1.0, 0.3, 0.7]], 2);
    let ln2 = std::f64::consts::LN_2;
    let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    let tensor = |values: &[f64]| Tensor::from_slice(values);
    assert_eq!(found.passes, 2);
    assert_close(&found.mean, &tensor(&[0.7, 0.3, 0.5, 0.5, 0.3, 0.7]).reshape([3, 2]), 1e-15);
    assert_close(&found.entropy, &tensor(&[0.6108643020548935, ln2, h(0.3)]), 1e-15);
    // 0.6108643020548935 - (0.3250829733914482 + 0.6931471805599453) / 2
    let information = tensor(&[0.10174922507919674, ln2, 0.0]);
    assert_close(&found.mutual_information, &information, 1e-15);
    let variance = tensor(&[0.04, 0.04, 0.25, 0.25, 0.0, 0.0]).reshape([3, 2]);
    assert_close(&found.variance, &variance, 1e-16);
    assert!(found.mutual_information.min().double_value(&[]) >= 0.0);
}

#[test]
fn huge_logits_are_neither_nan_nor_unsure() {
    let model = |x: &Tensor, _: bool| x.shallow_clone();
    for big in [1e4, 1e30, f64::INFINITY] {
        let x = Tensor::from_slice(&[0.0, -big]).reshape([1, 2]);
        let found = MonteCarlo::new(3).unwrap().train(true).predict(model, &x).unwrap();
        assert_eq!(found.mean, Tensor::from_slice(&[1.0, 0.0]).reshape([1, 2]));
        assert_eq!(found.entropy.double_value(&[0]), 0.0);
        assert_eq!(found.variance.abs().max().double_value(&[]), 0.0);
    }
}

/// Many passes over many rows, in batches and groups that don't come out even, against all the logits
/// at once.
#[test]
fn what_is_merged_is_what_all_passes_give_at_once() {
    const ROWS: i64 = 1000;
    let (x, layer) = (nonzero(&[ROWS, 10]) * 4.0, elements());
    for (fold, batch_size) in [(1, ROWS), (1, 300), (7, ROWS), (7, 300)] {
        let seen: RefCell<Vec<Tensor>> = RefCell::default();
        let model = |x: &Tensor, train| {
            let logits = layer.forward_t(x, train);
            seen.borrow_mut().push(logits.shallow_clone());
            logits
        };
        let run = MonteCarlo::new(100).unwrap().fold(fold).unwrap().batch_size(batch_size).unwrap();
        let found = run.predict(model, &x).unwrap();

        let seen = seen.into_inner();
        let forwards = 100u64.div_ceil(fold as u64) * (ROWS as u64).div_ceil(batch_size as u64);
        assert_eq!(seen.len() as u64, forwards);
        let batches = seen.chunks(100usize.div_ceil(fold as usize)).map(|passes| {
            let logits = Tensor::cat(passes, 0);
            logits.reshape([100, logits.size()[0] / 100, 10])
        });
        let p = Tensor::cat(&batches.collect::<Vec<_>>(), 1).softmax(-1, Kind::Double);
        let mean = p.mean_dim([0i64].as_slice(), false, Kind::Double);
        let entropy = |p: &Tensor| -(p * p.log()).sum_dim_intlist(-1, false, Kind::Double);
        let within = entropy(&p).mean_dim([0i64].as_slice(), false, Kind::Double);
        assert_close(&found.mean, &mean, 1e-14);
        assert_close(&found.entropy, &entropy(&mean), 1e-14);
        assert_close(&found.mutual_information, &(entropy(&mean) - within), 1e-14);
        assert_close(&found.variance, &p.var_dim([0i64].as_slice(), false, false), 1e-14);
    }
}

/// The expectation over all sixteen masks of a linear model, and what 20,000 passes find: by
/// Hoeffding's inequality a mean of numbers in [0, 1] is further off once in ten million times.
#[test]
fn the_mean_approaches_the_exact_expectation() {
    const PASSES: i64 = 20_000;
    let (p, columns, classes) = (0.3, 4, 3);
    let x = Tensor::from_slice(&[1f32, 0.5, 2.0, 1.5, 0.3, 1.0, 0.8, 0.2]).reshape([2, columns]);
    let weight =
        Tensor::from_slice(&[2f32, -1.0, 0.0, -2.0, 3.0, 1.0, 1.0, -2.0, 2.0, 0.0, 1.0, -3.0]);
    let weight = weight.reshape([columns, classes]);
    let zeros = || Tensor::zeros([2, classes], (Kind::Double, Device::Cpu));
    let (mut mean, mut square) = (zeros(), zeros());
    for bits in 0..1 << columns {
        let kept: Vec<f64> = (0..columns).map(|c| f64::from(bits >> c & 1)).collect();
        let chance: f64 = kept.iter().map(|k| if *k == 1.0 { 1.0 - p } else { p }).product();
        let masked = &x * Tensor::from_slice(&kept) / (1.0 - p);
        let out = masked.matmul(&weight.to_kind(Kind::Double)).softmax(-1, Kind::Double);
        mean += &out * chance;
        square += out.square() * chance;
    }
    let variance = square - mean.square();
    let bound = ((2.0 * 12.0 / 1e-7f64).ln() / (2.0 * PASSES as f64)).sqrt();
    let layer = TrueDropout::new(p).unwrap();
    let model = |x: &Tensor, train| layer.forward_t(x, train).matmul(&weight);
    for fold in [1, 100] {
        let run = MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap();
        let found = run.predict(model, &x).unwrap();
        assert_close(&found.mean, &mean, bound);
        assert_close(&found.variance, &variance, 3.0 * bound); // The mean square, and the mean's.
        assert!(variance.max().double_value(&[]) > 3.0 * bound, "a test that can fail");
    }
}

#[test]
fn batch_norm_stays_in_evaluation() {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = nn::seq_t()
        .add(nn::linear(vs.root() / "hidden", 6, 32, Default::default()))
        .add(nn::batch_norm1d(vs.root() / "norm", 32, Default::default()))
        .add(elements())
        .add(nn::linear(vs.root() / "output", 32, 3, Default::default()));
    let x = nonzero(&[20, 6]);
    let _ = model.forward_t(&x, true); // Statistics that are not the ones of the start.
    let statistics = || {
        let variables = vs.variables();
        let of = |name: &str| variables[name].copy();
        [of("norm.running_mean"), of("norm.running_var")]
    };
    let before = statistics();
    let evaluated = model.forward_t(&x, false);
    let found = monte_carlo(|x, train| model.forward_t(x, train), &x, 200).unwrap();
    assert!(found.variance.min().double_value(&[]) > 0.0);
    for (now, before) in statistics().iter().zip(&before) {
        assert_same_bits(now, before);
    }
    assert_same_bits(&model.forward_t(&x, false), &evaluated);

    // With the flag they move, as the documentation warns.
    let run = MonteCarlo::new(1).unwrap().train(true);
    run.predict(|x, train| model.forward_t(x, train), &x).unwrap();
    assert_ne!(statistics()[0], before[0]);
}

#[test]
fn train_is_passed_on_and_reaches_libtorchs_dropout() {
    let x = nonzero(&[5, 4]);
    for train in [false, true] {
        let layer = elements();
        let model = |x: &Tensor, flag| {
            assert_eq!(flag, train);
            layer.forward_t(x, flag)
        };
        MonteCarlo::new(2).unwrap().train(train).predict(model, &x).unwrap();
    }
    let libtorch = |x: &Tensor, train| x.dropout(0.5, train);
    let run = MonteCarlo::new(100).unwrap().train(true);
    assert!(run.predict(libtorch, &x).unwrap().variance.min().double_value(&[]) > 0.0);
    assert!(matches!(monte_carlo(libtorch, &x, 100), Err(Error::NothingDrawn)));
}

#[test]
fn a_model_without_dropout_is_not_called_certain() {
    let x = nonzero(&[5, 4]);
    let silent = TrueDropout::new(0.0).unwrap();
    let error = monte_carlo(|x, train| silent.forward_t(x, train), &x, 10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no dropout layer drew a mask, so the passes can only be the same: the model has none with \
         p > 0, or has libtorch's, which `.train(true)` switches on"
    );
    assert!(matches!(monte_carlo(|x, _| x * 2.0, &x, 10), Err(Error::NothingDrawn)));
    // p = 1 draws: its answer is sure, and right.
    let all = TrueDropout::new(1.0).unwrap();
    let found = monte_carlo(|x, train| all.forward_t(x, train), &x, 10).unwrap();
    assert_eq!(found.mean, Tensor::full([5, 4], 0.25, (Kind::Double, Device::Cpu)));
    assert_eq!(found.variance.max().double_value(&[]), 0.0);
}

#[test]
fn no_gradient_is_recorded_and_recording_goes_on_afterwards() {
    let vs = nn::VarStore::new(Device::Cpu);
    let linear = nn::linear(vs.root(), 6, 3, Default::default());
    let layer = elements();
    let x = nonzero(&[4, 6]).set_requires_grad(true);
    for fold in [1, 5] {
        let model = |x: &Tensor, train| {
            let y = linear.forward(&layer.forward_t(x, train));
            assert!(!y.requires_grad());
            y
        };
        let run = MonteCarlo::new(5).unwrap().fold(fold).unwrap();
        let Prediction { mean, entropy, mutual_information, variance, .. } =
            run.predict(model, &x).unwrap();
        for field in [mean, entropy, mutual_information, variance] {
            assert!(!field.requires_grad());
            assert_eq!(field.kind(), Kind::Double);
        }
        assert!(linear.forward(&x).requires_grad());
    }
}

#[test]
fn a_panic_in_the_model_leaves_nothing_switched() {
    let layer = TrueDropout::new(0.5).unwrap();
    let x = nonzero(&[4, 6]).set_requires_grad(true);
    let run = MonteCarlo::new(8).unwrap().fold(4).unwrap();
    let model = |x: &Tensor, train| -> Tensor {
        assert_ne!(layer.forward_t(x, train), x.shallow_clone());
        panic!("a model's own");
    };
    assert!(catch_unwind(AssertUnwindSafe(|| run.predict(model, &x))).is_err());
    assert_same_bits(&layer.forward_t(&x, false), &x);
    assert_eq!(layer.draw_mask(&x).unwrap().size(), [1, 6]);
    assert!((&x * 2.0).requires_grad());
}

#[test]
fn other_threads_stay_in_evaluation() {
    let layer = TrueDropout::new(0.5).unwrap();
    let model = |x: &Tensor, train| {
        std::thread::scope(|scope| {
            let evaluated = || {
                let x = nonzero(&[4, 6]);
                assert_same_bits(&layer.forward_t(&x, false), &x);
            };
            scope.spawn(evaluated).join().unwrap();
        });
        layer.forward_t(x, train)
    };
    monte_carlo(model, &nonzero(&[4, 6]), 3).unwrap();
}

#[test]
fn one_within_another_leaves_the_outer_as_it_was() {
    let (outer, inner) = (elements(), elements());
    let x = nonzero(&[4, 50]);
    let model = |x: &Tensor, train| {
        let run = MonteCarlo::new(6).unwrap().fold(3).unwrap();
        let found = run.predict(|x, train| inner.forward_t(x, train), x).unwrap();
        assert_ne!(outer.forward_t(x, train), x.shallow_clone(), "still awake");
        found.mean
    };
    let found = monte_carlo(model, &x, 3).unwrap();
    assert!(found.variance.min().double_value(&[]) > 0.0);
    assert_same_bits(&outer.forward_t(&x, false), &x);

    let nested = |x: &Tensor, train| {
        let _ = outer.forward_t(x, train);
        let error = monte_carlo(|x, train| inner.forward_t(x, train), x, 3).unwrap_err();
        assert!(matches!(error, Error::NestedFold));
        x.shallow_clone()
    };
    MonteCarlo::new(2).unwrap().fold(2).unwrap().predict(nested, &x).unwrap();
}

#[test]
fn any_kind_of_logits_and_of_input() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        let layer = elements();
        let x = nonzero(&[3, 4]).to_kind(kind);
        let found = monte_carlo(|x, train| layer.forward_t(x, train), &x, 50).unwrap();
        assert_eq!(found.mean.kind(), Kind::Double);
        assert_close(
            &found.mean.sum_dim_intlist(-1, false, None),
            &Tensor::ones([3], FLOAT),
            1e-14,
        );
    }
    // Token numbers through an embedding.
    let vs = nn::VarStore::new(Device::Cpu);
    let (embedding, layer) = (nn::embedding(vs.root(), 10, 4, Default::default()), elements());
    let tokens = Tensor::randint(10, [5, 7], (Kind::Int64, Device::Cpu));
    let model = |x: &Tensor, train| {
        let words = layer.forward_t(&embedding.forward(x), train);
        words.mean_dim([1i64].as_slice(), false, None)
    };
    for fold in [1, 4] {
        let found = MonteCarlo::new(10).unwrap().fold(fold).unwrap().predict(model, &tokens);
        assert_eq!(found.unwrap().mean.size(), [5, 4]);
    }
}

#[test]
fn a_seed_decides_and_takes_a_step_per_forward() {
    let x = nonzero(&[4, 6]);
    let run = |fold| {
        let layer = elements().seed(3);
        let run = MonteCarlo::new(10).unwrap().fold(fold).unwrap();
        let found = run.predict(|x, train| layer.forward_t(x, train), &x).unwrap();
        (found.mean, layer.step())
    };
    for (fold, steps) in [(1, 10), (4, 3), (10, 1)] {
        let (mean, step) = run(fold);
        assert_same_bits(&mean, &run(fold).0);
        assert_eq!(step, Some(steps));
    }
}

#[test]
fn mistakes_are_told() {
    let x = nonzero(&[4, 6]);
    let layer = TrueDropout::new(0.5).unwrap();
    let model = |x: &Tensor, train| layer.forward_t(x, train);
    let text = |result: Result<Prediction, Error>| result.unwrap_err().to_string();
    let two = MonteCarlo::new(2).unwrap();
    assert_eq!(text(monte_carlo(model, &x, 0)), "passes must be at least 1, got 0");
    assert_eq!(two.fold(0).unwrap_err().to_string(), "fold must be at least 1, got 0");
    let error = two.fold(3).unwrap_err().to_string();
    assert_eq!(error, "fold must be at most 2, the number of passes, got 3");
    let error = two.batch_size(-1).unwrap_err().to_string();
    assert_eq!(error, "batch_size must be at least 1, got -1");
    for size in [&[][..], &[0, 6], &[4, 0]] {
        let expected = format!(
            "Monte Carlo dropout needs at least one row in dimension 0, got shape {size:?}"
        );
        assert_eq!(text(monte_carlo(model, &Tensor::zeros(size, FLOAT), 2)), expected);
    }
    let shapes: [(&dyn Fn(Tensor) -> Tensor, &str); 5] = [
        (&|y| y.narrow(1, 0, 1), "Float of shape [4, 1]"),
        (&|y| y.narrow(0, 0, 3), "Float of shape [3, 6]"),
        (&|y| y.reshape([4, 2, 3]), "Float of shape [4, 2, 3]"),
        (&|y| y.sum(None), "Float of shape []"),
        (&|y| y.to_kind(Kind::Int64), "Int64 of shape [4, 6]"),
    ];
    for (wrong, got) in shapes {
        let expected = "the model must return floating-point logits of shape [4, K] with K >= 2";
        let error = text(monte_carlo(|x, train| wrong(model(x, train)), &x, 2));
        assert_eq!(error, format!("{expected}, got {got}"));
    }
    // A recurrent model's [T, N, C], folded.
    let turned = |x: &Tensor, train| match layer.f_forward_t(&x.tr(), train) {
        Ok(y) => y.tr(),
        Err(error) => {
            let expected = "folded passes need a multiple of 8 rows in dimension 0 of a layer's \
                            input, got shape [6, 8]";
            assert_eq!(error.to_string(), expected);
            layer.forward_t(x, train)
        }
    };
    two.predict(turned, &x).unwrap();
    two.fold(2).unwrap().predict(turned, &x).unwrap();
}

/// Folded or not, the masks of each pass and of two passes together have their right distribution.
mod distribution {
    use super::*;

    const P: f64 = 0.3;
    const PASSES: i64 = 8_000;
    const FOLD: i64 = 8;
    /// More than the checks of this whole module.
    const CHECKS: f64 = 1e4;

    /// Bernstein's inequality: a right count of independent events fails in any of the checks once
    /// in ten million times.
    #[track_caller]
    fn assert_count(count: usize, n: i64, p: f64, what: &str) {
        let (n, l) = (n as f64, (2.0 * CHECKS / 1e-7).ln());
        let bound = l / 3.0 + (l * l / 9.0 + 2.0 * l * n * p * (1.0 - p)).sqrt();
        let expected = n * p;
        assert!(
            (count as f64 - expected).abs() <= if p == 0.0 { 0.0 } else { bound },
            "{what}: {count} times, expected {expected} ± {bound}"
        );
    }

    /// Which entries of its output a model keeps in each pass, as bits.
    fn patterns(x: &Tensor, fold: i64, forward: impl Fn(&Tensor, bool) -> Tensor) -> Vec<u64> {
        let found: RefCell<Vec<u64>> = RefCell::default();
        let rows = x.size()[0];
        let model = |x: &Tensor, train| {
            let y = forward(x, train).flatten(1, -1);
            let kept = Vec::<bool>::try_from(y.ne(0).flatten(0, -1)).unwrap();
            let per_pass = (rows * y.size()[1]) as usize;
            let bits = |pass: &[bool]| pass.iter().rev().fold(0, |all, &bit| all << 1 | bit as u64);
            found.borrow_mut().extend(kept.chunks(per_pass).map(bits));
            y
        };
        let run = MonteCarlo::new(PASSES).unwrap().fold(fold).unwrap();
        run.predict(model, x).unwrap();
        found.into_inner()
    }

    /// `groups` says of each bit with which others it is dropped.
    #[track_caller]
    fn assert_distribution(found: &[u64], groups: &[i64], name: &str) {
        assert_eq!(found.len() as i64, PASSES);
        let count = 1 + groups.iter().max().unwrap();
        // Bits of a group go together, each group by itself.
        let chance = |pattern: u64| -> f64 {
            let bits = |group| (0..groups.len()).filter(move |&bit| groups[bit] == group);
            let of_group = |group| match bits(group).filter(|bit| pattern >> bit & 1 == 1).count() {
                0 => P,
                kept if kept == bits(group).count() => 1.0 - P,
                _ => 0.0,
            };
            (0..count).map(of_group).product()
        };
        let mut counts = vec![0; 1 << groups.len()];
        found.iter().for_each(|&pattern| counts[pattern as usize] += 1);
        for (pattern, &count) in counts.iter().enumerate() {
            let what = format!("{name}: pattern {pattern:b}");
            assert_count(count, PASSES, chance(pattern as u64), &what);
        }
        // Pairs at every distance within a fold: equal as often as independent ones are.
        let equal: f64 = (0..counts.len()).map(|pattern| chance(pattern as u64).powi(2)).sum();
        for distance in 1..FOLD as usize {
            let pairs = || found.chunks_exact(2 * FOLD as usize).map(|c| (c[0], c[distance]));
            let count = pairs().filter(|(a, b)| a == b).count();
            let what = format!("{name}: passes {distance} apart are equal");
            assert_count(count, pairs().count() as i64, equal, &what);
        }
    }

    /// A group's number for each entry of an `x` of this size.
    fn groups(shape: &NoiseShape, size: &[i64]) -> Vec<i64> {
        let noise = shape.resolve(size).unwrap();
        let count: i64 = noise.iter().product();
        let numbers = Tensor::arange(count, (Kind::Int64, Device::Cpu)).reshape(noise);
        Vec::try_from(numbers.expand(size, false).reshape([-1])).unwrap()
    }

    #[test]
    fn of_every_noise_shape() {
        let shared = |dimensions: &[i64]| NoiseShape::Shared(dimensions.to_vec());
        for (shape, size) in [
            (NoiseShape::Columns, &[2, 3][..]),
            (NoiseShape::Columns, &[2, 2, 2]),
            (NoiseShape::Columns, &[1, 3]),
            (NoiseShape::Elements, &[2, 3]),
            (NoiseShape::Channels, &[2, 2, 2]),
            (NoiseShape::Samples, &[3, 2]),
            (shared(&[0]), &[2, 3]),
            (shared(&[0]), &[2, 2, 2]),
            (shared(&[-1]), &[2, 2, 2]),
            (shared(&[0, 1]), &[3, 2]),
        ] {
            let x = Tensor::ones(size, FLOAT);
            let groups = groups(&shape, size);
            for fold in [1, FOLD] {
                let layer = Dropout::new(P).unwrap().noise_shape(shape.clone());
                let found = patterns(&x, fold, |x, train| layer.forward_t(x, train));
                assert_distribution(&found, &groups, &format!("{shape} of {size:?}, fold {fold}"));
            }
        }
    }

    /// Rows of the identity show the weight's mask; each row twice, as a batch shares the mask.
    #[test]
    fn of_drop_connect() {
        let vs = nn::VarStore::new(Device::Cpu);
        let linear = nn::LinearConfig { ws_init: nn::Init::Const(1.0), bs_init: None, bias: false };
        let config = DropConnectConfig { p: P, linear, ..Default::default() };
        let layer = drop_connect(vs.root(), 2, 2, config).unwrap();
        let x = Tensor::eye(2, FLOAT).repeat([2, 1]);
        for fold in [1, FOLD] {
            let found = patterns(&x, fold, |x, train| layer.forward_t(x, train));
            let name = format!("DropConnect, fold {fold}");
            assert_distribution(&found, &[0, 1, 2, 3, 0, 1, 2, 3], &name);
        }
    }

    /// What the layers do, the functions and a kept mask do too.
    #[test]
    fn of_masks_drawn_in_a_model() {
        let x = Tensor::ones([2, 3], FLOAT);
        let layer = Dropout::new(P).unwrap();
        let by_layer = |x: &Tensor, _| {
            let mask = layer.draw_mask(x).unwrap();
            tch_dropout::apply_mask(x, &mask).unwrap()
        };
        let by_function = |x: &Tensor, _| x * tch_dropout::column_mask(x, P).unwrap();
        let groups = groups(&NoiseShape::Columns, &[2, 3]);
        for fold in [1, FOLD] {
            assert_distribution(&patterns(&x, fold, by_layer), &groups, "draw_mask");
            assert_distribution(&patterns(&x, fold, by_function), &groups, "column_mask");
        }
    }
}

/// The folded forward of DropConnect is the linear one for each pass, bias and inner dimensions
/// included.
#[test]
fn folded_drop_connect_is_a_linear_layer_per_pass() {
    let vs = nn::VarStore::new(Device::Cpu);
    // Nothing is dropped in 2⁻⁶⁰ of the forwards, but masks are drawn and multiplied.
    let config = DropConnectConfig { p: 1e-20, rescale: false, ..Default::default() };
    let layer = drop_connect(vs.root(), 6, 5, config).unwrap();
    let x = nonzero(&[4, 3, 6]);
    let expected = layer.forward_t(&x, false);
    let model = |x: &Tensor, train| {
        let y = layer.forward_t(x, train);
        assert_eq!(y.size(), [8, 3, 5]);
        assert_close(&y, &expected.repeat([2, 1, 1]), 1e-6);
        y.flatten(1, -1)
    };
    MonteCarlo::new(2).unwrap().fold(2).unwrap().predict(model, &x).unwrap();
    let wrong = |x: &Tensor, _| {
        assert!(layer.f_forward_t(&x.narrow(2, 0, 5), true).is_err());
        layer.forward_t(x, true).flatten(1, -1)
    };
    MonteCarlo::new(2).unwrap().fold(2).unwrap().predict(wrong, &x).unwrap();
}
