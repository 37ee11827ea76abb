//! What the tests of the MNIST example need.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{example, stderr, stdout};

/// The example with no network to go to, in a directory of its own. One at a time, as each training
/// wants all cores.
pub fn mnist(directory: &TempDir, arguments: &[&str]) -> Output {
    static CORES: Mutex<()> = Mutex::new(());
    let _cores = CORES.lock().unwrap_or_else(PoisonError::into_inner);
    command(directory, arguments).output().unwrap()
}

pub fn command(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = example("mnist");
    command.current_dir(directory.path()).env("MNIST_MIRRORS", "http://127.0.0.1:9");
    command.args(arguments);
    command
}

/// The example's standard output, once it has succeeded.
#[track_caller]
pub fn succeed(directory: &TempDir, arguments: &[&str]) -> String {
    let output = mnist(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Asserts a failure with exactly one line, which has these words in it.
#[track_caller]
pub fn assert_error(output: &Output, words: &[&str]) {
    let text = stderr(output);
    assert!(!output.status.success(), "should fail: {text}");
    assert_eq!(text.lines().count(), 1, "should be one line: {text}");
    assert!(text.starts_with("error: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} should be in: {text}");
    }
    assert_eq!(stdout(output), "");
}
