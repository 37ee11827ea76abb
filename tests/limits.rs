//! Probabilities at the edge, and sizes at the edge.

mod common;

use common::{assert_binomial, count_kept, device, elements, float};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};

#[test]
fn tiny_probabilities_have_the_right_expectation() {
    let x = Tensor::ones([20_000_000], float());
    for p in [1e-9, 1e-6, 1e-5, 2f64.powi(-16), 1.5 * 2f64.powi(-16), 0.5 + 1e-6] {
        assert_binomial(2e7 - count_kept(&elements(p).with_seed(1).forward_t(&x, true)), 2e7, p);
        assert_binomial(count_kept(&elements(1.0 - p).with_seed(1).forward_t(&x, true)), 2e7, p);
    }
}

/// Rounded to 16 bits, 0.1 would drop a 2e-5 of all too few or too many: 60 standard deviations here.
#[test]
fn a_probability_is_not_rounded_to_16_bits() {
    let x = Tensor::ones([50_000_000], (Kind::Uint8, device()));
    for p in [1e-5, 0.1] {
        let total: f64 = (0..4)
            .map(|seed| 5e7 - count_kept(&elements(p).with_seed(seed).draw_mask(&x, true).unwrap()))
            .sum();
        assert_binomial(total, 2e8, p);
    }
}

#[test]
fn the_smallest_subnormal_drops_nothing_that_one_could_wait_for() {
    let x = Tensor::ones([1_000_000], float());
    assert_eq!(elements(f64::from_bits(1)).forward_t(&x, true), x);
}

#[test]
fn just_below_one_keeps_next_to_nothing_and_rescales_it() {
    let x = Tensor::ones([1_000_000], float());
    let y = elements(1.0 - 1e-5).with_seed(1).forward_t(&x, true);
    assert_binomial(count_kept(&y), 1e6, 1e-5);
    assert!((y.max().double_value(&[]) - 1e5).abs() < 1.0);
    assert_eq!(elements(1.0).forward_t(&x, true), x.zeros_like());
}

#[test]
fn a_scale_that_half_precision_cannot_hold_is_infinite_as_in_libtorch() {
    let x = Tensor::ones([1_000_000], (Kind::Half, device()));
    let scale = |p| elements(p).with_seed(1).draw_mask(&x, true).unwrap().max().double_value(&[]);
    assert_eq!(scale(0.5), 2.0);
    assert_eq!(scale(0.999), 1000.0);
    assert_eq!(scale(1.0 - 1e-5), f64::INFINITY);
    assert_eq!(x.dropout(1.0 - 1e-5, true).max().double_value(&[]), f64::INFINITY);
}

/// More elements than 32 bits can count, in bf16. Runs where 12 GB are free.
#[test]
fn more_than_two_to_the_31_elements() {
    const GIB: u64 = 1 << 30;
    let available = available_memory();
    if available < 14 * GIB {
        println!("skipped: {} GiB of memory are free, 14 are needed", available / GIB);
        return;
    }
    let n = (1i64 << 31) + 1000;
    let x = Tensor::ones([n], (Kind::BFloat16, device()));
    let layer = elements(0.5).with_seed(1);
    let y = layer.forward_t(&x, true);
    drop(x);
    for start in [0, 1 << 30, n - (1 << 20)] {
        assert_binomial(count_kept(&y.narrow(0, start, 1 << 20)), f64::from(1 << 20), 0.5);
    }
    // The last elements are not the first ones again.
    assert_ne!(y.narrow(0, 1 << 31, 1000), y.narrow(0, 0, 1000));
}

#[cfg(target_os = "linux")]
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok());
    kib.unwrap_or(0u64) * 1024
}

#[cfg(not(target_os = "linux"))]
fn available_memory() -> u64 {
    0
}
