//! Monte Carlo dropout, folded or not: the masks of each pass, and of two passes together, have the right
//! distribution.

mod common;

use std::cell::RefCell;

use common::{device, float, nonzero, times};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{DropConnectConfig, Dropout, MonteCarlo, NoiseShape, drop_connect};

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

/// Which elements of its output a model keeps in each pass, as bits.
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
    let run = MonteCarlo::new(times(PASSES)).unwrap().fold(fold).unwrap();
    run.predict(model, x).unwrap();
    let mut found = found.into_inner();
    // At last, two copies of the batch, of which nothing is dropped.
    assert_eq!(found.split_off(times(PASSES) as usize).len(), if fold > 1 { 2 } else { 0 });
    found
}

/// `groups` says of each bit with which others it is dropped.
#[track_caller]
fn assert_distribution(found: &[u64], groups: &[i64], name: &str) {
    assert_eq!(found.len() as i64, times(PASSES));
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
        assert_count(count, times(PASSES), chance(pattern as u64), &what);
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

/// A group's number for each element of an `x` of this size.
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
        (NoiseShape::Batch, &[2, 3]),
        (shared(&[0]), &[2, 3]),
        (shared(&[0]), &[2, 2, 2]),
        (shared(&[-1]), &[2, 2, 2]),
        (shared(&[0, 1]), &[3, 2]),
    ] {
        let x = Tensor::ones(size, float());
        let groups = groups(&shape, size);
        for fold in [1, FOLD] {
            let layer = Dropout::new(P).unwrap().with_noise_shape(shape.clone());
            let found = patterns(&x, fold, |x, train| layer.forward_t(x, train));
            assert_distribution(&found, &groups, &format!("{shape} of {size:?}, fold {fold}"));
        }
    }
}

/// Rows of the identity show the weight's mask; each row twice, as a batch shares the mask.
#[test]
fn of_drop_connect() {
    let vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { ws_init: nn::Init::Const(1.0), bs_init: None, bias: false };
    let config = DropConnectConfig { p: P, linear, ..Default::default() };
    let layer = drop_connect(vs.root(), 2, 2, config).unwrap();
    let x = Tensor::eye(2, float()).repeat([2, 1]);
    for fold in [1, FOLD] {
        let found = patterns(&x, fold, |x, train| layer.forward_t(x, train));
        let name = format!("DropConnect, fold {fold}");
        assert_distribution(&found, &[0, 1, 2, 3, 0, 1, 2, 3], &name);
    }
}

/// What the layers do, the functions and a kept mask do too.
#[test]
fn of_masks_drawn_in_a_model() {
    let x = Tensor::ones([2, 3], float());
    let layer = Dropout::new(P).unwrap();
    let by_layer = |x: &Tensor, _| {
        let mask = layer.draw_mask(x, true).unwrap();
        tch_dropout::apply_mask(x, &mask).unwrap()
    };
    let by_function = |x: &Tensor, _| x * tch_dropout::column_mask(x, P).unwrap();
    let groups = groups(&NoiseShape::Columns, &[2, 3]);
    for fold in [1, FOLD] {
        assert_distribution(&patterns(&x, fold, by_layer), &groups, "draw_mask");
        assert_distribution(&patterns(&x, fold, by_function), &groups, "column_mask");
    }
}

/// The folded forward of DropConnect is the linear one for each pass, bias and inner dimensions
/// included.
#[test]
fn folded_drop_connect_is_a_linear_layer_per_pass() {
    let vs = nn::VarStore::new(device());
    // Nothing is dropped in 2⁻⁶⁰ of the forwards, but masks are drawn and multiplied.
    let config = DropConnectConfig { p: 1e-20, rescale: false, ..Default::default() };
    let layer = drop_connect(vs.root(), 6, 5, config).unwrap();
    let x = nonzero(&[4, 3, 6]);
    let expected = layer.forward_t(&x, false);
    let forwards: RefCell<Vec<i64>> = RefCell::default();
    let model = |x: &Tensor, train| {
        let y = layer.forward_t(x, train);
        let passes = x.size()[0] / 4;
        forwards.borrow_mut().push(passes);
        assert_eq!(y.size(), [4 * passes, 3, 5]);
        assert!(y.allclose(&expected.repeat([passes, 1, 1]), 0.0, 1e-6, false));
        y.flatten(1, -1)
    };
    let run = MonteCarlo::new(3).unwrap().fold(2).unwrap();
    run.predict(model, &x).unwrap();
    assert_eq!(
        *forwards.borrow(),
        [1, 2, 2],
        "one pass, two, and two copies that show their order"
    );
    let wrong = |x: &Tensor, _| {
        assert!(layer.f_forward_t(&x.narrow(2, 0, 5), true).is_err());
        layer.forward_t(x, true).flatten(1, -1)
    };
    run.predict(wrong, &x).unwrap();
}
