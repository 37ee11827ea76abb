//! What a forward pass allocates, measured as the process's peak above what it had before.
#![cfg(target_os = "linux")]

mod common;

use std::fs;

use common::{alone, elements};
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{MonteCarlo, NoiseShape, TrueDropout};

/// The process's memory, whatever device the other tests are on.
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const MIB: i64 = 1 << 20;
/// What may come on top: the allocator's rounding, and pages that other parts of the process touch.
const SLACK: i64 = 4 * MIB;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

/// How far the whole process's resident memory rises above where it is before.
fn peak_of(forward: impl Fn() -> Tensor) -> i64 {
    drop(forward()); // What is made once is not counted.
    fs::write("/proc/self/clear_refs", "5").unwrap(); // Sets the peak to what is resident now.
    let before = status("VmRSS:");
    let y = forward();
    let peak = status("VmHWM:") - before;
    drop(y);
    peak
}

#[track_caller]
fn assert_near(peak: i64, expected: i64) {
    assert!((peak - expected).abs() <= SLACK, "{} MiB for {}", peak / MIB, expected / MIB);
}

#[test]
fn shared_noise_allocates_the_output_and_no_more() {
    let _alone = alone();
    let x = Tensor::rand([64, 256, 32, 32], FLOAT);
    let size = 4 * x.numel() as i64;
    let shared = NoiseShape::Shared(vec![2, -1]);
    for shape in [NoiseShape::Columns, NoiseShape::Channels, NoiseShape::Samples, shared] {
        for grad in [false, true] {
            let x = x.shallow_clone().detach().set_requires_grad(grad);
            let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone());
            assert_near(peak_of(|| layer.forward_t(&x, true)), size);
            let layer = layer.with_seed(1);
            assert_near(peak_of(|| layer.forward_t(&x, true)), size);
        }
    }
}

/// The backward draws the mask again; without the feature for that, the mask is kept beside the output.
#[test]
fn elements_allocate_the_output_and_no_more() {
    let _alone = alone();
    let x = Tensor::rand([64, 256, 32, 32], FLOAT);
    let size = 4 * x.numel() as i64;
    let with_gradient = if cfg!(recompute) { size } else { 2 * size };
    for layer in [elements(0.5), elements(0.5).with_seed(1)] {
        assert_near(peak_of(|| layer.forward_t(&x, true)), size);
        let x = x.shallow_clone().detach().set_requires_grad(true);
        assert_near(peak_of(|| layer.forward_t(&x, true)), with_gradient);
    }
}

/// With a gradient as large as the output, the backward allocates the input's gradient and nothing beside it.
#[cfg(recompute)]
#[test]
fn a_backward_allocates_the_gradient_and_no_more() {
    let _alone = alone();
    let x = Tensor::rand([64, 256, 32, 32], FLOAT).set_requires_grad(true);
    let size = 4 * x.numel() as i64;
    let layer = elements(0.5);
    let gradient = Tensor::rand([64, 256, 32, 32], FLOAT);
    let y = layer.forward_t(&x, true);
    let loss = (&y * &gradient).sum(None);
    let backward = || Tensor::run_backward(&[&loss], &[&x], true, false).remove(0);
    // The gradient of the product, from libtorch, and that of x.
    assert_near(peak_of(backward), 2 * size);
    let loss = y.sum(None);
    assert_near(peak_of(|| Tensor::run_backward(&[&loss], &[&x], true, false).remove(0)), size);
}

#[test]
fn a_hundred_thousand_forwards_leave_nothing_behind() {
    let _alone = alone();
    let x = Tensor::rand([16, 64], FLOAT).set_requires_grad(true);
    let shapes = [NoiseShape::Columns, NoiseShape::Elements];
    let layers = shapes.map(|shape| TrueDropout::new(0.5).unwrap().with_noise_shape(shape));
    let seeded = TrueDropout::new(0.5).unwrap().with_seed(1);
    let forwards = |n| {
        for _ in 0..n {
            for layer in layers.iter().chain([&seeded]) {
                drop(layer.forward_t(&x, true));
            }
        }
    };
    forwards(1_000);
    let before = status("VmRSS:");
    forwards(100_000);
    // 100,000 times the least that could leak, 16 bytes, would be 1.6 million.
    let growth = status("VmRSS:") - before;
    assert!(growth < MIB, "{growth} bytes");
}

/// Half a MiB of logits a pass: kept, they would be 90 MiB more.
#[test]
fn monte_carlo_takes_no_more_memory_for_ten_times_the_passes() {
    let _alone = alone();
    let layer = TrueDropout::elements(0.5).unwrap();
    let x = Tensor::rand([2048, 64], FLOAT);
    let weight = Tensor::randn([64, 64], FLOAT).set_requires_grad(true);
    let model = |x: &Tensor, train| layer.forward_t(x, train).matmul(&weight);
    let peak = |passes| {
        let run = MonteCarlo::new(passes).unwrap();
        peak_of(|| run.predict(model, &x).unwrap().mean)
    };
    let (few, many) = (peak(20), peak(200));
    assert!(many - few < 30 * MIB, "{} MiB, then {}", few / MIB, many / MIB);
}

/// What is left of a process's memory after `work`, beyond what it had before. In a process of its own, whose allocator
/// returns what is freed at once, so that nothing but this crate keeps it.
#[cfg(all(recompute, target_env = "gnu"))]
fn left_by(name: &str, work: impl Fn() -> Vec<Tensor>) -> Option<i64> {
    if std::env::var_os("TCH_DROPOUT_ALONE").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env("TCH_DROPOUT_ALONE", name);
        let child = child.env("MALLOC_MMAP_THRESHOLD_", "131072").output().unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{output}");
        return None;
    }
    let small = Tensor::rand([1000], FLOAT);
    drop(elements(0.5).forward_t(&small, true)); // What is made once is not counted.
    let before = status("VmRSS:");
    let _kept = work();
    Some(status("VmRSS:") - before)
}

/// Of results that are alive together, one at most is kept for the next.
#[cfg(all(recompute, target_env = "gnu"))]
#[test]
fn pairs_of_results_leave_one_behind() {
    let _alone = alone();
    let x = Tensor::zeros([MIB], FLOAT);
    let pairs = || {
        for _ in 0..50 {
            let _pair = [elements(0.5).forward_t(&x, true), elements(0.5).forward_t(&x, true)];
        }
        Vec::new()
    };
    let Some(left) = left_by("pairs_of_results_leave_one_behind", pairs) else { return };
    assert!(left < 4 * MIB + SLACK, "{} MiB", left / MIB);
}

/// From 32 MiB on, a result is returned to the system at once.
#[cfg(all(recompute, target_env = "gnu"))]
#[test]
fn a_result_of_many_mebibytes_leaves_nothing_behind() {
    let _alone = alone();
    let x = Tensor::zeros([8 * MIB], FLOAT);
    let one = || {
        drop(elements(0.5).forward_t(&x, true));
        Vec::new()
    };
    let name = "a_result_of_many_mebibytes_leaves_nothing_behind";
    let Some(left) = left_by(name, one) else { return };
    assert!(left < SLACK, "{} MiB", left / MIB);
}

/// A result does not hold a block that is much larger than itself.
#[cfg(all(recompute, target_env = "gnu"))]
#[test]
fn a_small_result_does_not_keep_a_large_block() {
    let _alone = alone();
    let large = Tensor::zeros([7 * MIB], FLOAT);
    let small = Tensor::zeros([MIB], FLOAT);
    let large_then_small = || {
        drop(elements(0.5).forward_t(&large, true));
        vec![elements(0.5).forward_t(&small, true)]
    };
    let name = "a_small_result_does_not_keep_a_large_block";
    let Some(left) = left_by(name, large_then_small) else { return };
    assert!(left < 4 * MIB + SLACK, "{} MiB", left / MIB);
}
