//! Streams: reproducible, independent of each other, and random.

mod common;

use std::collections::HashSet;

use common::{assert_same_bits, float};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, Error, NoiseShape, Stream, TrueDropout};

fn elements(p: f64) -> Dropout {
    Dropout::new(p).unwrap().noise_shape(NoiseShape::Elements)
}

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

/// The first 16 of an entry's bits: one of the eight lanes of a block.
fn first_bits(seed: u64, high: u128, entry: u64) -> u32 {
    let word = philox(seed, high | u128::from(entry / 8))[entry as usize % 8 / 2];
    (word >> (16 * (entry % 2))) & 0xFFFF
}

/// What a stream's mask is by definition: an entry is dropped if its 64 bits are below p · 2⁶⁴. All but
/// its first 16 bits come from a block of its own.
fn expected(seed: u64, worker: u16, step: u64, p: f64, entries: u64) -> Vec<f32> {
    let threshold = (p * 2f64.powi(64)) as u128;
    let high = u128::from(worker) << 112 | u128::from(step) << 64;
    (0..entries)
        .map(|entry| {
            let first = first_bits(seed, high, entry);
            let tail = philox(seed, high | 1 << 63 | u128::from(entry));
            let tail = (u128::from(tail[1]) << 32 | u128::from(tail[0])) >> 16;
            let bits = u128::from(first) << 48 | tail;
            f32::from(u8::from(bits >= threshold))
        })
        .collect()
}

#[test]
fn masks_are_what_they_are_defined_to_be() {
    for (seed, worker, step, p) in [
        (0, 0, 0, 0.5),
        (u64::MAX, u16::MAX, (1 << 48) - 1, 0.1),
        (0x0123_4567_89AB_CDEF, 7, 12_345_678_901, 1.0 / 3.0),
        (1, 0, 0, 2f64.powi(-14)),
    ] {
        // Enough entries for some to tie in their first 16 bits.
        let layer = elements(p).stream(Stream::new(seed).worker(worker));
        layer.set_step(step).unwrap();
        let mask = Vec::<f32>::try_from(layer.forward_t(&ones(&[300_001]), true)).unwrap();
        assert!(mask == expected(seed, worker, step, p, 300_001), "seed {seed}, p {p}");
    }
}

/// Two entries that tie with the threshold at once, in one tile, which looks for ties as a whole.
#[test]
fn two_ties_in_a_tile_are_both_settled() {
    let (seed, step, first) = (0..)
        .find_map(|step| {
            let high = u128::from(step) << 64;
            let mut firsts: Vec<u32> = (0..128).map(|entry| first_bits(3, high, entry)).collect();
            firsts.sort();
            let twice = firsts.windows(2).find(|pair| pair[0] == pair[1])?[0];
            Some((3, step, twice))
        })
        .unwrap();
    // Nearly all of what ties is dropped, which their first 16 bits alone would keep.
    let p = (f64::from(first) + 0.999) / 65536.0;
    let layer = elements(p).seed(seed);
    layer.set_step(step).unwrap();
    let mask = Vec::<f32>::try_from(layer.forward_t(&ones(&[128]), true)).unwrap();
    assert_eq!(mask, expected(seed, 0, step, p, 128));
}

/// These numbers may change only with a new major version, and then the CHANGELOG says so.
#[test]
fn the_first_masks_of_some_seeds_stay_as_they_are() {
    let kept = |seed, p| {
        let mask = elements(p).seed(seed).forward_t(&ones(&[32]), true);
        let kept = Vec::<f32>::try_from(mask).unwrap();
        kept.iter().map(|&kept| if kept == 1.0 { '1' } else { '0' }).collect::<String>()
    };
    assert_eq!(kept(0, 0.5), "10111111110001101000000011000100");
    assert_eq!(kept(1, 0.5), "01010111011100011011110111100010");
    assert_eq!(kept(42, 0.1), "11111011111111010111111101011111");
    assert_eq!(kept(u64::MAX, 0.9), "00000000000000000000000000100000");
}

#[test]
fn a_forward_depends_on_seed_step_shape_and_p_alone() {
    let x = ones(&[40, 30]);
    let layer = elements(0.5).seed(7);
    let alone: Vec<Tensor> = (0..4).map(|_| layer.forward_t(&x, true)).collect();
    assert_ne!(alone[0], alone[1]);

    let (layer, other) = (elements(0.5).seed(7), elements(0.5).seed(8));
    for expected in &alone {
        tch::manual_seed(3);
        let _ = (other.forward_t(&x, true), x.dropout(0.5, true), layer.forward_t(&x, false));
        assert_same_bits(&layer.forward_t(&x, true), expected);
    }
    layer.set_step(2).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &alone[2]);
    assert_eq!(layer.step(), Some(3));
}

#[test]
fn only_forwards_that_draw_take_a_step() {
    let x = ones(&[4, 3]);
    let layer = TrueDropout::new(0.5).unwrap().seed(1);
    let _ = layer.forward_t(&x, false);
    let _ = layer.forward_t(&Tensor::zeros([0, 3], float()), true);
    assert!(layer.f_forward_t(&ones(&[3]), true).is_err());
    assert_eq!(layer.step(), Some(0));
    let silent = TrueDropout::new(0.0).unwrap().seed(1);
    let _ = silent.forward_t(&x, true);
    assert_eq!(silent.step(), Some(0));
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
    let layer = elements(0.5).stream(stream);
    let last = layer.forward_t(&ones(&[64]), true);
    assert_eq!(layer.step(), Some(0));
    assert_ne!(layer.forward_t(&ones(&[64]), true), last);

    let unseeded = elements(0.5);
    assert_eq!(unseeded.step(), None);
    assert_eq!(
        unseeded.set_step(3).unwrap_err().to_string(),
        "the layer has no stream to set to step 3: give it a seed first"
    );
}

#[test]
fn a_clone_of_a_stream_goes_on_by_itself() {
    let stream = Stream::new(1);
    stream.set_step(5).unwrap();
    let (a, b) = (elements(0.5).stream(stream.clone()), elements(0.5).stream(stream));
    let _ = a.draw_mask(&ones(&[1])).unwrap();
    assert_eq!((a.step(), b.step()), (Some(6), Some(5)));
}

/// A stream of n entries with mean 0 and variance 1.
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
    let mask = elements(p).seed(1).forward_t(&ones(&[side, side]), true);
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
        let stream = normalised(&elements(p).seed(2), p, n);
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
    let mask = elements(0.5).seed(3).forward_t(&ones(&[n]), true);
    let (first, second) = (mask.narrow(0, 0, n - 1), mask.narrow(0, 1, n - 1));
    let changes = first.ne_tensor(&second).count_nonzero(None);
    let (changes, pairs) = (changes.double_value(&[]), (n - 1) as f64);
    let z = (changes - pairs / 2.0) / (pairs / 4.0).sqrt();
    assert!(z.abs() < SIGMAS, "{changes} changes in {pairs} pairs");
}

#[test]
fn neighbouring_seeds_steps_and_workers_are_not_correlated() {
    let n = 1 << 18;
    let base = normalised(&elements(0.5).seed(10), 0.5, n);
    let at = |seed, worker, step| {
        let layer = elements(0.5).stream(Stream::new(seed).worker(worker));
        layer.set_step(step).unwrap();
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
            let layer = elements(0.5).stream(Stream::new(1).worker(worker));
            let mask = layer.draw_mask(&ones(&[128]).to_kind(Kind::Uint8)).unwrap();
            Vec::try_from(mask).unwrap()
        })
        .collect();
    assert_eq!(masks.len(), 1000);
}
