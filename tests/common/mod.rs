//! What several tests need.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{Dropout, NoiseShape, TrueDropout};

/// The noise shapes that an input of two or more dimensions has without further words.
pub const SHAPES: [NoiseShape; 5] = [
    NoiseShape::Columns,
    NoiseShape::Elements,
    NoiseShape::Channels,
    NoiseShape::Samples,
    NoiseShape::Batch,
];

/// All files in a directory and those in it.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Where the tests' tensors are: on the CPU, or where `TCH_DROPOUT_DEVICE` says.
pub fn device() -> Device {
    match std::env::var("TCH_DROPOUT_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::Cpu,
        Ok("cuda") => {
            assert!(
                tch::Cuda::is_available(),
                "TCH_DROPOUT_DEVICE is cuda, but libtorch finds no GPU"
            );
            Device::Cuda(0)
        }
        Ok(other) => panic!("TCH_DROPOUT_DEVICE must be cpu or cuda, got {other}"),
    }
}

pub fn float() -> (Kind, Device) {
    (Kind::Float, device())
}

/// How often a test repeats what asks nothing else of a GPU, but keeps it waiting at each turn: a tenth there.
pub fn times(on_a_cpu: i64) -> i64 {
    if device().is_cuda() { on_a_cpu / 10 } else { on_a_cpu }
}

/// Whether a layer without a seed leaves its elements to libtorch's own dropout: on a GPU, where this crate has no
/// kernel of its own. Takes libtorch's generator.
pub fn is_left_to_libtorch() -> bool {
    let x = Tensor::ones([1000], float());
    let draw = |forward: &dyn Fn() -> Tensor| {
        tch::manual_seed(1);
        forward().ne(0)
    };
    draw(&|| elements(0.5).forward_t(&x, true)) == draw(&|| x.dropout(0.5, true))
}

/// The usual dropout.
pub fn elements(p: f64) -> TrueDropout {
    TrueDropout::elements(p).unwrap()
}

/// The usual dropout, not rescaled: its output over ones is the mask's zeros and ones.
pub fn unscaled_elements(p: f64) -> Dropout {
    Dropout::elements(p).unwrap()
}

/// One test at a time: for what the whole process has one of, such as libtorch's generator. In a file whose name ends in
/// `in_blocks`, attention has blocks of a few weights.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    #[cfg(recompute)]
    if env!("CARGO_CRATE_NAME").ends_with("in_blocks") {
        tch_dropout::WEIGHTS_OF_A_BLOCK.store(5, std::sync::atomic::Ordering::Relaxed);
    }
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes libtorch's generator for a test, and seeds it.
pub fn seeded() -> MutexGuard<'static, ()> {
    let generator = alone();
    tch::manual_seed(1);
    generator
}

/// No element of it is 0, so that a 0 in an output is a dropped element.
pub fn nonzero(size: &[i64]) -> Tensor {
    Tensor::rand(size, float()) + 0.5
}

/// A copy of a batch of images with the channels last in memory.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Asserts that two tensors have the same kind, shape and bits, the sign of zeros included.
#[track_caller]
pub fn assert_same_bits(a: &Tensor, b: &Tensor) {
    assert_eq!((a.kind(), a.size()), (b.kind(), b.size()));
    let bits = |t: &Tensor| match t.kind() {
        Kind::Half | Kind::BFloat16 => t.contiguous().view_dtype(Kind::Int16),
        Kind::Float => t.contiguous().view_dtype(Kind::Int),
        Kind::Double => t.contiguous().view_dtype(Kind::Int64),
        _ => t.contiguous(),
    };
    assert!(bits(a) == bits(b), "different bits:\n{a}\n{b}");
}

/// Asserts that two tensors of the same shape are nowhere further apart than the tolerance.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(actual.size(), expected.size());
    let difference = (actual - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "{difference} apart:\n{actual}\n{expected}");
}

/// Asserts the same bits; on a GPU, the values of `same_product`.
#[track_caller]
pub fn assert_same_product(a: &Tensor, b: &Tensor) {
    if a.device() == Device::Cpu {
        return assert_same_bits(a, b);
    }
    assert_eq!((a.kind(), a.size()), (b.kind(), b.size()));
    assert!(bool::try_from(same_product(a, b).all()).unwrap(), "different values:\n{a}\n{b}");
}

/// Where two tensors have the same value; on a GPU, where libtorch's fused dropout rounds `1 / (1 - p)` in another way,
/// nearly so. In half precision a scale, and each of two products, is half a unit off. In single precision `1 - p` is
/// off by up to 2⁻²², which the division makes 100 times as much for the largest p below 1 of these tests, 0.99.
pub fn same_product(a: &Tensor, b: &Tensor) -> Tensor {
    let relative = match a.kind() {
        _ if a.device() == Device::Cpu => 0.0,
        Kind::Half => 1.5 * 2f64.powi(-10) + 100.0 * 2f64.powi(-22),
        Kind::BFloat16 => 1.5 * 2f64.powi(-7) + 100.0 * 2f64.powi(-22),
        _ => 100.0 * 2f64.powi(-22),
    };
    a.isclose(b, relative, 0.0, true)
}

/// The gradient of `x`, whose graph stays for a second derivative. (`tch` crashes where nothing is recorded.)
pub fn gradient(y: &Tensor, x: &Tensor) -> Tensor {
    assert!(y.requires_grad(), "no gradient is recorded");
    Tensor::run_backward(&[y], &[x], true, true).remove(0)
}

/// How many elements are not 0.
pub fn count_kept(t: &Tensor) -> f64 {
    t.count_nonzero(None).double_value(&[])
}

/// Asserts that a count of `n` independent events of probability `p` is within 6 standard deviations
/// of a binomial's mean: a right count fails once in 500 million times.
#[track_caller]
pub fn assert_binomial(count: f64, n: f64, p: f64) {
    let (mean, deviation) = (n * p, (n * p * (1.0 - p)).sqrt());
    assert!(
        (count - mean).abs() <= 6.0 * deviation + 1.0,
        "{count} of {n} events of probability {p}: expected {mean} ± {deviation}"
    );
}

/// The panic's text.
pub fn panic_text(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(f).expect_err("this should panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().expect("a panic with a text").to_string(),
    }
}

/// How many bytes more than before are in memory at a time while this runs.
#[cfg(target_os = "linux")]
pub fn peak_memory_of(run: impl FnOnce()) -> u64 {
    let peak = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // Sets the peak to what is resident now.
    let before = peak();
    run();
    peak() - before
}

/// An example's program, which `cargo test` builds with the tests.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.parent().and_then(Path::parent).expect("tests are in target/release/deps");
    let path = target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: run cargo build --examples", path.display());
    Command::new(path)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
