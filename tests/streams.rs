//! Streams: reproducible, independent of each other, and random.

mod common;

use std::collections::HashSet;

use common::{assert_same_bits, float, unscaled_elements};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, Error, Stream, TrueDropout};

fn ones(size: &[i64]) -> Tensor {
    Tensor::ones(size, float())
}

/// Philox4x32-10 as its paper writes it: one counter, 32-bit words.
fn philox(key: u64, counter: u128) -> [u32; 4] {
    let mut c = [0, 32, 64, 96].map(|shift| (counter >> shift) as u32);
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..10 {
        let (a, b) = (0xD2511F53 * u64::from(c[0]), 0xCD9E8D57 * u64::from(c[2]));
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9E3779B9), k[1].wrapping_add(0xBB67AE85)];
    }
    c
}

/// Where the numbers of a mask begin: all of the counter but the block.
fn start(worker: u16, layer: u16, step: u64) -> u128 {
    u128::from(worker) << 112 | u128::from(step) << 64 | u128::from(layer) << 46
}

/// What a stream's mask is by definition, see `src/rng/counter.rs` and `src/cpu/bernoulli.rs`: an element is
/// dropped if its bits, as a binary fraction, are below p. It has eight of its own; where they are p's first
/// eight, and p has more, words of its tile's pool decide, in the order of the tile's words and their bits.
fn expected(seed: u64, start: u128, p: f64, elements: usize) -> Vec<f32> {
    let threshold = (p * 2f64.powi(64)) as u64;
    let word = |kind: u64, tile: usize, word: usize| {
        let block = (16 * tile + word % 16) as u64;
        philox(seed, start | u128::from(kind | block))[word / 16 % 4]
    };
    let mut kept = vec![1.0; elements.next_multiple_of(2048)];
    for tile in 0..elements.div_ceil(2048) {
        let mut pool = (0..).map(|n| word(1 << 63 | (n / 64) << 40, tile, n as usize % 64));
        for (l, j) in (0..64).flat_map(|l| (0..32).map(move |j| (l, j))) {
            let bits =
                (0..8).fold(0, |bits, plane| bits << 1 | word(plane << 40, tile, l) >> j & 1);
            let first = (threshold >> 56) as u32;
            let mut below = bits < first;
            if bits == first && threshold << 8 != 0 {
                let mut next = || pool.next().unwrap();
                let (high, low) = ((threshold >> 24) as u32, (threshold << 8) as u32);
                let bits = next();
                below = bits < high || bits == high && next() < low;
            }
            if below {
                kept[2048 * tile + 64 * j + l] = 0.0;
            }
        }
    }
    kept.truncate(elements);
    kept
}

#[test]
fn masks_are_what_they_are_defined_to_be() {
    for (seed, worker, layer, step, p) in [
        (0, 0, 0, 0, 0.5),
        (u64::MAX, u16::MAX, u16::MAX, (1 << 48) - 1, 0.1),
        (0x0123_4567_89AB_CDEF, 7, 300, 12_345_678_901, 1.0 / 3.0),
        (1, 0, 1, 0, 2f64.powi(-14)),
        (2, 1, 0, 3, 0.984375 + 1e-9),
        (3, 0, 0, 0, 0.984375),
        (4, 0, 0, 0, 1.0 / 256.0 - 1e-9),
        (5, 0, 0, 0, 1.0 - 1e-9),
        (6, 0, 0, 0, 255.0 / 256.0),
        (7, 0, 0, 0, 255.0 / 512.0),
    ] {
        let stream = Stream::new(seed).with_worker(worker).with_layer(layer);
        stream.set_step(step).unwrap();
        let mask = unscaled_elements(p).with_stream(stream).forward_t(&ones(&[100_001]), true);
        let mask = Vec::<f32>::try_from(mask).unwrap();
        let expected = expected(seed, start(worker, layer, step), p, 100_001);
        assert!(mask == expected, "seed {seed}, p {p}");
    }
}

/// One tie in 2³² needs a second word of the pool: here it is the first tie of all, as p has that word's bits.
#[test]
fn a_tie_that_ties_again_takes_another_word() {
    for seed in 0..64 {
        let word = philox(seed, 1 << 63)[0];
        let threshold = 5 << 56 | u64::from(word) << 24 | 1 << 23;
        let p = threshold as f64 / 2f64.powi(64);
        assert_eq!((p * 2f64.powi(64)) as u64, threshold);
        let mask = unscaled_elements(p).with_seed(seed).forward_t(&ones(&[2048]), true);
        assert!(Vec::<f32>::try_from(mask).unwrap() == expected(seed, 0, p, 2048));
    }
}

#[test]
fn workers_layers_and_steps_have_masks_of_their_own() {
    let (workers, layers, steps) = ([0, 1, u16::MAX], [0, 1, 2, u16::MAX], [0, 1, (1 << 48) - 1]);
    let mut seen = HashSet::new();
    for (worker, layer) in workers.into_iter().flat_map(|w| layers.map(|l| (w, l))) {
        for step in steps {
            let stream = Stream::new(5).with_layer(layer).with_worker(worker);
            stream.set_step(step).unwrap();
            assert_eq!((stream.worker(), stream.layer(), stream.step()), (worker, layer, step));
            let mask = unscaled_elements(0.5).with_stream(stream).forward_t(&ones(&[256]), true);
            let mask = Vec::<f32>::try_from(mask).unwrap();
            assert_eq!(mask, expected(5, start(worker, layer, step), 0.5, 256));
            let bits: Vec<bool> = mask.iter().map(|&element| element == 1.0).collect();
            assert!(seen.insert(bits), "worker {worker}, layer {layer}, step {step}");
        }
    }
    assert_eq!(seen.len(), 36);
}

#[test]
fn another_seed_keeps_worker_and_layer_and_starts_anew() {
    let stream = Stream::new(1).with_worker(3).with_layer(5);
    stream.set_step(7).unwrap();
    let layer = unscaled_elements(0.5).with_stream(stream).with_seed(9);
    let stream = layer.stream().unwrap();
    let found = (stream.seed(), stream.worker(), stream.layer(), stream.step());
    assert_eq!(found, (9, 3, 5, 0));
    let mask = Vec::<f32>::try_from(layer.forward_t(&ones(&[256]), true)).unwrap();
    assert_eq!(mask, expected(9, start(3, 5, 0), 0.5, 256));
}

#[test]
fn another_worker_or_layer_keeps_the_step() {
    let stream = Stream::new(1);
    stream.set_step(5).unwrap();
    let stream = stream.with_worker(2).with_layer(4);
    assert_eq!(stream.step(), 5);
    let layer = unscaled_elements(0.5).with_stream(stream);
    let mask = Vec::<f32>::try_from(layer.forward_t(&ones(&[256]), true)).unwrap();
    assert_eq!(mask, expected(1, start(2, 4, 5), 0.5, 256));
    assert_eq!(layer.stream().map(Stream::step), Some(6));
}

/// These numbers may change only with a new major version, and then the CHANGELOG says so.
#[test]
fn the_first_masks_of_some_seeds_stay_as_they_are() {
    let kept = |seed, p| {
        let mask = unscaled_elements(p).with_seed(seed).forward_t(&ones(&[32]), true);
        let kept = Vec::<f32>::try_from(mask).unwrap();
        kept.iter().map(|&kept| if kept == 1.0 { '1' } else { '0' }).collect::<String>()
    };
    assert_eq!(kept(0, 0.5), "10110101000001011100001100001100");
    assert_eq!(kept(1, 0.5), "01010011100001100010001100010111");
    assert_eq!(kept(42, 0.1), "11111101111111111111101111111111");
    assert_eq!(kept(u64::MAX, 0.9), "10000000000000001000000000100100");
}

#[test]
fn a_forward_depends_on_seed_step_shape_and_p_alone() {
    let x = ones(&[40, 30]);
    let layer = unscaled_elements(0.5).with_seed(7);
    let alone: Vec<Tensor> = (0..4).map(|_| layer.forward_t(&x, true)).collect();
    assert_ne!(alone[0], alone[1]);

    let (layer, other) = (unscaled_elements(0.5).with_seed(7), unscaled_elements(0.5).with_seed(8));
    for expected in &alone {
        tch::manual_seed(3);
        let _ = (other.forward_t(&x, true), x.dropout(0.5, true), layer.forward_t(&x, false));
        assert_same_bits(&layer.forward_t(&x, true), expected);
    }
    layer.stream().unwrap().set_step(2).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &alone[2]);
    assert_eq!(layer.stream().map(Stream::step), Some(3));
}

#[test]
fn only_forwards_that_draw_take_a_step() {
    let x = ones(&[4, 3]);
    let layer = TrueDropout::new(0.5).unwrap().with_seed(1);
    let _ = layer.forward_t(&x, false);
    let _ = layer.forward_t(&Tensor::zeros([0, 3], float()), true);
    assert!(layer.f_forward_t(&ones(&[3]), true).is_err());
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    let silent = TrueDropout::new(0.0).unwrap().with_seed(1);
    let _ = silent.forward_t(&x, true);
    assert_eq!(silent.stream().map(Stream::step), Some(0));
}

#[test]
fn steps_have_48_bits_and_a_layer_without_a_stream_has_none() {
    let stream = Stream::new(1);
    assert!(matches!(stream.set_step(1 << 48), Err(Error::Step(_))));
    assert_eq!(
        stream.set_step(1 << 48).unwrap_err().to_string(),
        "a stream's step must be below 2^48, got 281474976710656"
    );
    stream.set_step((1 << 48) - 1).unwrap();
    let layer = unscaled_elements(0.5).with_stream(stream);
    let last = layer.forward_t(&ones(&[64]), true);
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    assert_ne!(layer.forward_t(&ones(&[64]), true), last);

    assert!(unscaled_elements(0.5).stream().is_none());
}

#[test]
fn a_clone_of_a_stream_goes_on_by_itself() {
    let stream = Stream::new(1);
    stream.set_step(5).unwrap();
    let (a, b) = (
        unscaled_elements(0.5).with_stream(stream.clone()),
        unscaled_elements(0.5).with_stream(stream),
    );
    let _ = a.draw_mask(&ones(&[1]), true).unwrap();
    assert_eq!((a.stream().map(Stream::step), b.stream().map(Stream::step)), (Some(6), Some(5)));
}

/// A stream of n elements with mean 0 and variance 1.
fn normalised(layer: &Dropout, p: f64, n: i64) -> Tensor {
    let mask = layer.forward_t(&ones(&[n]), true).to_kind(Kind::Double);
    (mask - (1.0 - p)) / (p * (1.0 - p)).sqrt()
}

fn mean_product(a: &Tensor, b: &Tensor) -> f64 {
    a.dot(b).double_value(&[]) / a.numel() as f64
}

/// The normal quantile of one false alarm in 10⁷; masks of a seed never change, so that it would be
/// the same one for ever.
const SIGMAS: f64 = 5.33;

#[test]
fn rows_and_columns_have_the_right_counts() {
    let (p, side) = (0.3, 1024);
    let mask = unscaled_elements(p).with_seed(1).forward_t(&ones(&[side, side]), true);
    for dimension in [0, 1] {
        let counts = mask.sum_dim_intlist([dimension].as_slice(), false, Kind::Double);
        let n = side as f64;
        let deviations = (counts - n * (1.0 - p)) / (n * p * (1.0 - p)).sqrt();
        let chi_square = deviations.square().sum(Kind::Double).double_value(&[]);
        let z = (chi_square - n) / (2.0 * n).sqrt();
        assert!(z.abs() < SIGMAS, "chi-square {chi_square} for {n} degrees of freedom");
    }
}

#[test]
fn no_serial_correlation() {
    let (n, row) = (1 << 20, 1000);
    for p in [0.1, 0.5, 0.9] {
        let stream = normalised(&unscaled_elements(p).with_seed(2), p, n);
        for lag in (1..=64).chain([row, 128, 1024, 4096]) {
            let correlation =
                mean_product(&stream.narrow(0, 0, n - lag), &stream.narrow(0, lag, n - lag));
            assert!(
                correlation.abs() < SIGMAS / ((n - lag) as f64).sqrt(),
                "lag {lag}: {correlation}"
            );
        }
    }
}

#[test]
fn the_right_number_of_runs() {
    let n = 1 << 20;
    let mask = unscaled_elements(0.5).with_seed(3).forward_t(&ones(&[n]), true);
    let (first, second) = (mask.narrow(0, 0, n - 1), mask.narrow(0, 1, n - 1));
    let changes = first.ne_tensor(&second).count_nonzero(None);
    let (changes, pairs) = (changes.double_value(&[]), (n - 1) as f64);
    let z = (changes - pairs / 2.0) / (pairs / 4.0).sqrt();
    assert!(z.abs() < SIGMAS, "{changes} changes in {pairs} pairs");
}

#[test]
fn neighbouring_seeds_steps_and_workers_are_not_correlated() {
    let n = 1 << 18;
    let base = normalised(&unscaled_elements(0.5).with_seed(10), 0.5, n);
    let at = |seed, worker, step| {
        let layer = unscaled_elements(0.5).with_stream(Stream::new(seed).with_worker(worker));
        layer.stream().unwrap().set_step(step).unwrap();
        normalised(&layer, 0.5, n)
    };
    let bits = (0..16).map(|bit| 1u64 << bit);
    let neighbours: Vec<(u64, u16, u64)> = bits
        .flat_map(|bit| [(10 ^ bit, 0, 0), (10, bit as u16, 0), (10, 0, bit)])
        .chain([(11, 0, 0), (9, 0, 0), (10, 10, 10)])
        .collect();
    for (seed, worker, step) in neighbours {
        let correlation = mean_product(&base, &at(seed, worker, step));
        let place = format!("seed {seed}, worker {worker}, step {step}");
        assert!(correlation.abs() < SIGMAS / (n as f64).sqrt(), "{place}: {correlation}");
    }
}

#[test]
fn streams_of_many_workers_differ() {
    let masks: HashSet<Vec<u8>> = (0..1000)
        .map(|worker| {
            let layer = unscaled_elements(0.5).with_stream(Stream::new(1).with_worker(worker));
            let mask = layer.draw_mask(&ones(&[128]).to_kind(Kind::Uint8), true).unwrap();
            Vec::try_from(mask).unwrap()
        })
        .collect();
    assert_eq!(masks.len(), 1000);
}
