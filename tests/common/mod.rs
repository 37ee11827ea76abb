//! What several tests need.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

pub const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// One test at a time: for what the whole process has one of, such as libtorch's generator.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No entry of it is 0, so that a 0 in an output is a dropped entry.
pub fn nonzero(size: &[i64]) -> Tensor {
    Tensor::rand(size, FLOAT) + 0.5
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

/// How many entries are not 0.
pub fn kept(t: &Tensor) -> f64 {
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

/// MNIST, where `MNIST_DIR` or a directory beside this repository has it.
pub fn mnist_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("MNIST_DIR").map_or("../shared/mnist".into(), PathBuf::from);
    let found = directory.join("train-images-idx3-ubyte.gz").exists();
    if !found {
        println!("skipped: no MNIST in {}; MNIST_DIR may name another place", directory.display());
    }
    found.then_some(directory)
}
