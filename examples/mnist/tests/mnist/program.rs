//! Runs the programs and checks their output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

/// A program, which `cargo test` builds with the tests.
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

/// MNIST's directory, from `MNIST_DIR` or the program's default, relative to the repository's root.
pub fn mnist_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("MNIST_DIR").map_or("data/mnist".into(), PathBuf::from);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(directory);
    let found = directory.join("train-images-idx3-ubyte.gz").exists();
    if !found {
        println!("skipped: no MNIST in {}; MNIST_DIR may name another place", directory.display());
    }
    found.then_some(directory)
}

/// The experiment without a network, in its own directory. One at a time, as each training run uses all
/// cores.
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

pub fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A command's output on a terminal with this many columns; nothing where there is no `script`.
#[cfg(target_os = "linux")]
pub fn on_terminal(command: &Command, columns: u32) -> Option<String> {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no script");
        return None;
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let line = format!("stty cols {columns} rows 50; {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    Some(stdout(&script.output().unwrap()))
}

/// Asserts that a bad command line is rejected, with these words.
#[track_caller]
pub fn assert_usage_error(output: &Output, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "should be refused: {text}");
    assert!(text.starts_with("error: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} should be in: {text}");
    }
    assert_eq!(stdout(output), "");
}

/// Asserts a failure with exactly one line of error, which has these words in it.
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
