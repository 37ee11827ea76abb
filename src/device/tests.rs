//! What libtorch's operations draw is what the CPU's code draws: on the CPU, and on a GPU where there is one.

use std::iter::repeat_n;

use tch::{Cuda, Device, Kind, Tensor};

use super::bernoulli::{Extent, keep_flags, outcomes};
use super::tiles::Tiles;
use super::{TILES_AT_ONCE, drawn, is_exact, philox};
use crate::cpu::bernoulli::PLANES;
use crate::cpu::{ImplicitMask, Layout};
use crate::effect::{Affine, Outcome};
use crate::probability::Probability;
use crate::rng::counter::{Counter, TILE};
use crate::rng::philox::{SIDE_BY_SIDE, WORDS, words};

/// The CPU, and a GPU if there is one.
fn devices() -> impl Iterator<Item = Device> {
    let gpu = Cuda::is_available().then_some(Device::Cuda(0));
    if gpu.is_none() {
        println!("not on a GPU: libtorch finds none");
    }
    [Device::Cpu].into_iter().chain(gpu)
}

fn counter() -> Counter {
    Counter::of_stream(0xFEDC_BA98_7654_3210, 0x8001, 0x4002, 0x9000_0000_0003)
}

fn u32s(words: &Tensor) -> Vec<u32> {
    let words = words.to_device(Device::Cpu).contiguous().flatten(0, -1);
    Vec::<i32>::try_from(words).unwrap().into_iter().map(|word| word as u32).collect()
}

fn bools(tensor: &Tensor) -> Vec<bool> {
    Vec::try_from(tensor.to_device(Device::Cpu)).unwrap()
}

/// Those that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
#[test]
fn known_answers() {
    let pi = (0x299f31d0_a4093822, 0x03707344_13198a2e, 0x85a308d3_243f6a88);
    let ones = u64::MAX;
    for (key, high, low, expected) in [
        (0, 0, 0, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
        // The last of its 16 blocks.
        (ones, ones, ones - 15, [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
        (pi.0, pi.1, pi.2, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]),
    ] {
        for device in devices() {
            let tiles = Tiles { start: 0, count: 1, device };
            let found = u32s(&philox::words((key, high), &[low], &tiles).unwrap());
            let i = if key == ones { SIDE_BY_SIDE - 1 } else { 0 };
            assert_eq!([0, 1, 2, 3].map(|word| found[word * SIDE_BY_SIDE + i]), expected);
        }
    }
}

#[test]
fn words_are_those_of_the_cpu() {
    let counter = counter();
    let (key, high) = counter.key_and_high();
    // Across a boundary of 32 bits, and the last tiles of all.
    for start in [0, (1 << 28) - 2, (1 << 36) - 3] {
        let lows = [
            counter.plane_low(start, 0),
            counter.plane_low(start, 7),
            counter.pool_low(start, 0),
            counter.pool_low(start, 63),
        ];
        let expected = lows.iter().flat_map(|low| {
            (0..3).flat_map(move |tile| words(key, high, low + tile * SIDE_BY_SIDE as u64))
        });
        let expected: Vec<u32> = expected.collect();
        for device in devices() {
            let tiles = Tiles { start, count: 3, device };
            let words = philox::words((key, high), &lows, &tiles).unwrap();
            assert_eq!(words.size(), [4, 3, WORDS as i64]);
            assert!(u32s(&words) == expected, "tile {start}, {device:?}");
        }
    }
}

/// Every number of digits, thresholds with and without leading zeros, and both ends.
const PROBABILITIES: [f64; 19] = [
    1e-30,   // Rounded to 0.
    5.5e-20, // 2⁻⁶⁴.
    1e-9,
    1.0 / 256.0 - 1e-9,
    1.0 / 256.0,
    1.0 / 256.0 + 1e-9,
    1.0 / 512.0,
    0.1,
    0.25,
    1.0 / 3.0,
    0.5,
    0.5 + 1e-12,
    0.625,
    0.9,
    255.0 / 256.0,
    1.0 - 1e-9,
    1.0 - f64::EPSILON / 2.0,
    1.0 - f64::EPSILON,
    1.0,
];

fn sizes() -> [i64; 13] {
    [1, 2, 63, 64, 65, 2047, 2048, 2049, 4095, 4096, 4097, 10_000, 100_003]
}

fn rescaled(p: f64) -> (Probability, Outcome) {
    let p = Probability::new(p).unwrap();
    (p, Outcome::Bernoulli(Affine::times(p.scale())))
}

#[track_caller]
fn assert_drawn(p: Probability, outcome: Outcome, size: &[i64], kind: Kind) {
    let layout = Layout::contiguous(size, kind);
    let expected = ImplicitMask::new(counter(), p, outcome, layout).stored().unwrap();
    for device in devices() {
        let mask = drawn(&counter(), p, outcome, size, (kind, device)).unwrap();
        assert_eq!((mask.device(), mask.kind(), mask.size()), (device, kind, size.to_vec()));
        assert!(mask.is_contiguous());
        let bits = |mask: &Tensor| match kind {
            Kind::Half | Kind::BFloat16 => mask.view_dtype(Kind::Int16),
            Kind::Float => mask.view_dtype(Kind::Int),
            Kind::Double => mask.view_dtype(Kind::Int64),
            _ => mask.shallow_clone(),
        };
        let same = bits(&mask.to_device(Device::Cpu)) == bits(&expected);
        assert!(same, "p {p:?}, size {size:?}, {kind:?}, {device:?}");
    }
}

#[test]
fn masks_are_those_of_the_cpu() {
    for p in PROBABILITIES {
        let (p, outcome) = rescaled(p);
        for size in sizes() {
            assert_drawn(p, outcome, &[size], Kind::Float);
        }
        for size in [&[][..], &[1, 300, 1], &[7, 1, 300], &[5, 6, 7, 8]] {
            assert_drawn(p, outcome, size, Kind::Float);
        }
        for kind in [Kind::Double, Kind::Half, Kind::BFloat16] {
            assert_drawn(p, outcome, &[5000], kind);
        }
        let outcome = Outcome::Bernoulli(Affine::times(1.0));
        for kind in [Kind::Uint8, Kind::Int8, Kind::Bool, Kind::Int16, Kind::Int, Kind::Int64] {
            assert_drawn(p, outcome, &[5000], kind);
        }
    }
}

/// Its scale, 1 / (1 - p), is infinite in half precision; dropped elements are 0 all the same.
#[test]
fn an_infinite_scale_is_the_cpus() {
    let (p, outcome) = rescaled(1.0 - 1e-5);
    assert_drawn(p, outcome, &[100, 2048], Kind::Half);
}

#[test]
fn normal_numbers_are_those_of_the_cpu() {
    let p = Probability::new(0.5).unwrap();
    for deviation in [1.0, 1.0 / 3.0, 1e-6] {
        let outcome = Outcome::Normal { deviation };
        for size in sizes() {
            assert_drawn(p, outcome, &[size], Kind::Float);
        }
        for kind in [Kind::Double, Kind::Half, Kind::BFloat16] {
            assert_drawn(p, outcome, &[5, 1000], kind);
        }
    }
}

#[test]
fn parts_follow_each_other() {
    let elements = (TILES_AT_ONCE * TILE + TILE + 1) as i64;
    for p in [0.5, 0.1] {
        let (p, outcome) = rescaled(p);
        assert_drawn(p, outcome, &[elements], Kind::Uint8);
    }
    let p = Probability::new(0.5).unwrap();
    assert_drawn(p, Outcome::Normal { deviation: 1.0 }, &[elements], Kind::Float);
}

/// By definition, one element after the other.
fn kept_by_definition(threshold: u64, planes: u32, tile: u64) -> Vec<bool> {
    let bits: Vec<[u32; WORDS]> =
        (0..planes).map(|plane| counter().plane(tile, plane.into())).collect();
    let mut pool = (0..).flat_map(|filled| counter().pool(tile, filled));
    let mut kept = vec![true; TILE];
    for (word, bit) in (0..WORDS).flat_map(|word| (0..32).map(move |bit| (word, bit))) {
        let number = bits.iter().fold(0, |number, plane| number << 1 | plane[word] >> bit & 1);
        let first = threshold.checked_shr(64 - planes).unwrap_or(0) as u32;
        let mut below = number < first;
        if number == first && threshold << planes != 0 {
            let rest = threshold << planes;
            let bits = pool.next().unwrap();
            below = if bits == (rest >> 32) as u32 {
                pool.next().unwrap() < rest as u32
            } else {
                bits < (rest >> 32) as u32
            };
        }
        kept[64 * bit + word] = !below;
    }
    kept
}

#[track_caller]
fn assert_kept(threshold: u64, extent: Extent, start: u64) {
    let expected: Vec<bool> = (start..start + 3)
        .flat_map(|tile| kept_by_definition(threshold, extent.planes, tile))
        .collect();
    for device in devices() {
        let tiles = Tiles { start, count: 3, device };
        let flags = keep_flags(&counter(), threshold, extent, &tiles).unwrap();
        assert!(bools(&flags) == expected, "{threshold:x}, {extent:?}, tile {start}, {device:?}");
    }
}

/// With fewer planes there are more ties, up to all elements of a tile: the pool is filled many times.
#[test]
fn ties_beyond_the_first_pool_take_words_of_the_next() {
    for planes in 0..=PLANES {
        let ties = TILE as u64 >> planes;
        let extent = Extent { planes, fillings: ties.div_ceil(32) + 2 };
        for p in PROBABILITIES {
            match Probability::new(p).unwrap().threshold() {
                None | Some(0) => {}
                Some(threshold) => assert_kept(threshold, extent, 5),
            }
        }
    }
}

/// Elements and blocks that 31 and 32 bits cannot count, of a mask too large for any memory.
#[test]
fn elements_far_out_have_numbers_of_their_own() {
    let last = (1 << 47) - 3 * TILE as u64;
    for element in [1u64 << 31, 1 << 32, 1 << 39, 1 << 40, last] {
        let start = element / TILE as u64;
        for p in [0.5, 0.1] {
            let threshold = Probability::new(p).unwrap().threshold().unwrap();
            assert_kept(threshold, Extent::OF_MASKS, start);
        }
    }
}

/// An index that is out of bounds, and so an error. On a GPU it would end the process's use of it.
#[test]
fn a_tie_for_which_no_word_was_drawn_is_an_error() {
    let tiles = Tiles { start: 0, count: 2, device: Device::Cpu };
    let threshold = Probability::new(1.0 / 3.0).unwrap().threshold().unwrap();
    // A quarter of the elements tie, and 128 words are drawn.
    let extent = Extent { planes: 2, fillings: 2 };
    let error = keep_flags(&counter(), threshold, extent, &tiles).unwrap_err().to_string();
    assert!(error.contains("out of bounds"), "{error}");
}

/// One tie in 2³² takes a second word. Here it is one word in two or more that equals the threshold's.
#[test]
fn a_tie_that_ties_again_takes_another_word() {
    let (first, second) = (7u32, 5u32);
    let threshold = u64::from(first) << 32 | u64::from(second);
    let all_equal = vec![first; WORDS];
    let none_is = vec![first + 1; WORDS];
    let random = (0..50u64).map(|tile| {
        let choices: &[u32] = if tile < 25 { &[first, 4, 5, 9] } else { &[first, first, first, 4] };
        counter().plane(tile, 0).map(|word| choices[word as usize % choices.len()]).to_vec()
    });
    let pools: Vec<Vec<u32>> = random.chain([all_equal, none_is]).collect();
    for device in devices() {
        let flat: Vec<i64> = pools.iter().flatten().map(|&word| word.into()).collect();
        let pool = Tensor::from_slice(&flat).to_device(device).reshape([-1, WORDS as i64]);
        let found = outcomes(&pool, threshold).unwrap();
        for (row, pool) in (0..).zip(&pools) {
            let mut expected = vec![];
            let mut words = pool.iter();
            while let Some(&word) = words.next() {
                expected.push(match word == first {
                    // There is no second word for the last one.
                    true => words.next().is_some_and(|&word| word < second),
                    false => word < first,
                });
            }
            let found = bools(&found.get(row));
            assert_eq!(found.len(), WORDS + 1);
            let unused = repeat_n(false, WORDS - expected.len());
            let expected: Vec<bool> = expected.iter().copied().chain(unused).collect();
            assert_eq!(found[1..], expected, "{pool:?}, {device:?}");
        }
    }
}

/// The same in a mask: p has the bits of the pool's first word, and of the next two.
#[test]
fn a_mask_with_a_tie_that_ties_again() {
    for tile in 0..16 {
        let word = counter().pool(tile, 0)[0];
        let threshold = 0x5A << 56 | u64::from(word) << 24 | 1 << 23;
        assert_kept(threshold, Extent::OF_MASKS, tile);
    }
}

#[test]
fn these_devices_are_exact() {
    let (_, bernoulli) = rescaled(0.1);
    for device in devices() {
        for outcome in [bernoulli, Outcome::Normal { deviation: 0.5 }] {
            // The second answer is the first one, remembered.
            assert!(is_exact(outcome, device) && is_exact(outcome, device), "{device:?}");
        }
    }
}

/// No libtorch that tch can use has this one.
#[test]
fn a_device_that_cannot_draw_is_not_exact() {
    let (_, outcome) = rescaled(0.1);
    assert!(!is_exact(outcome, Device::Vulkan));
}
