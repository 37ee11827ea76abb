//! `scripts/gpu.sh` with programs that only pretend to test and to measure.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gpu.sh");

const PASSES: &str = "echo test result: ok. 3 passed";
const FAILS: &str = "echo test result: FAILED. 1 failed; exit 101";

const MEASURES: &str = "echo on a machine of ours; echo \"table of $*\"";
const TRAINS: &str = "echo macro F1 of $*";

fn program(path: &Path, work: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{work}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder as `pack` leaves it, but with these programs.
fn packed(programs: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let usual = [
        ("deps/speed", MEASURES),
        ("deps/tch_dropout", PASSES),
        ("deps/cuda", PASSES),
        ("examples/mnist", TRAINS),
    ];
    for (name, work) in usual.iter().chain(programs) {
        program(&folder.path().join("release").join(name), work);
    }
    folder
}

fn gpu_sh(arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.arg(SCRIPT).args(arguments);
    command.env("LIBTORCH", "/nowhere").env_remove("LIBTORCH_USE_PYTORCH").env_remove("MNIST_DIR");
    command.output().unwrap()
}

fn run(folder: &Path, options: &[&str]) -> (bool, String) {
    let folder = folder.to_str().unwrap();
    let output = gpu_sh(&[options, &["run", folder]].concat());
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[track_caller]
fn assert_one_line(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "should fail");
    assert_eq!(text.lines().count(), 1, "should be one line: {text}");
    assert!(text.starts_with("gpu.sh: ") && text.contains(words), "{words:?} in {text}");
}

#[test]
fn it_ends_with_the_tables() {
    let folder = packed(&[("deps/strides", PASSES), ("deps/pages", FAILS)]);
    let (success, text) = run(folder.path(), &[]);
    assert!(success, "{text}");
    for words in [
        "== mnist\nmacro F1 of --device cuda --runs 2",
        "--synthetic",
        "table of --device cuda --only shapes",
        "table of --device cuda --only chain",
        "== on a machine of ours",
        "tests/cuda.rs: test result: ok. 3 passed",
        "2 of 2 files of tests pass", // The pages ask nothing of a GPU.
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let table = fs::read_to_string(folder.path().join("results/tables")).unwrap();
    assert_eq!(table, text);
}

#[test]
fn a_test_gets_the_device_and_its_failure_is_named() {
    let checks = "[ \"$TCH_DROPOUT_DEVICE\" = cpu ] && exit 0; exit 101";
    let folder = packed(&[("deps/fails", FAILS), ("deps/checks", checks)]);
    let (success, text) = run(folder.path(), &["--device", "cpu"]);
    assert!(!success);
    assert!(text.contains("2 of 3 files of tests pass"), "{text}");
    assert!(text.contains("failed: test fails: see results/test-fails.log"), "{text}");
    assert!(text.contains("--device cpu --quick --only family"), "{text}");
    assert!(fs::read_to_string(folder.path().join("results/test-fails.log")).is_ok());
}

#[test]
fn what_takes_too_long_is_cut_and_said() {
    let folder = packed(&[("deps/slow", "exec sleep 100"), ("deps/strides", PASSES)]);
    let (success, text) = run(folder.path(), &["--seconds", "3"]);
    assert!(success, "to be cut is no failure: {text}");
    for words in [
        "2 of 3 files of tests pass",
        "cut: tests: cut after ",
        "cut: test slow: not finished",
        "cut: bench-shapes: left out, no time",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn a_slow_test_is_cut_and_the_others_go_on() {
    let folder = packed(&[("deps/slow", "exec sleep 100"), ("deps/strides", PASSES)]);
    let (success, text) = run(folder.path(), &["--seconds", "8"]);
    assert!(success, "{text}");
    for words in ["2 of 3 files of tests pass", "cut: test slow: cut after 2 s", "only curve"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

/// A cargo and a strip that only name and copy the programs.
#[test]
fn what_cargo_builds_is_packed_and_run() {
    let repository = tempfile::tempdir().unwrap();
    let path = |name: &str| repository.path().join(name);
    fs::create_dir(path("scripts")).unwrap();
    fs::copy(SCRIPT, path("scripts/gpu.sh")).unwrap();
    let built = path("target/release");
    for (name, work) in
        [("strides", PASSES), ("tch_dropout", PASSES), ("cuda", PASSES), ("speed", MEASURES)]
    {
        program(&built.join(format!("deps/{name}-0123456789abcdef")), work);
    }
    for name in ["mnist", "mnist-0123456789abcdef", "mnist.d"] {
        program(&built.join("examples").join(name), TRAINS);
    }
    let says = |name: &str| {
        format!(
            "echo '  Executable tests/{name}.rs (target/release/deps/{name}-0123456789abcdef)' >&2"
        )
    };
    let tests = ["strides", "tch_dropout", "cuda"].map(says).join("; ");
    let cargo = format!("case $3 in\ntest) {tests} ;;\nbench) {} ;;\nesac", says("speed"));
    program(&path("bin/cargo"), &cargo);
    program(&path("bin/strip"), "cp -p \"$3\" \"$2\"");
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
    let sh = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.current_dir(repository.path()).args(arguments).env("PATH", &search);
        let output = command.env_remove("MNIST_DIR").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = sh(&["scripts/gpu.sh", "--device", "cpu", "pack", "there"]);
    assert!(said.starts_with("5 programs are in "), "{said}");
    assert!(path("there/programs.tar.xz").exists() && !path("there/release").exists());
    let packed = sh(&["there/gpu.sh", "--device", "cpu", "run", "there"]);
    let here = sh(&["scripts/gpu.sh", "--device", "cpu"]);
    for text in [packed, here] {
        assert!(text.contains("2 of 2 files of tests pass"), "{text}");
        assert!(text.contains("macro F1 of --device cpu"), "{text}");
    }
}

#[test]
fn a_machine_on_which_nothing_runs_is_one_line() {
    let speed = ("deps/speed", "echo error: libtorch finds no GPU >&2; exit 1");
    let folder = packed(&[speed]);
    let output = gpu_sh(&["run", folder.path().to_str().unwrap()]);
    assert_one_line(&output, "it does not run here: error: libtorch finds no GPU");
}

#[test]
fn mistakes_are_one_line() {
    let empty = tempfile::tempdir().unwrap();
    let folder: PathBuf = empty.path().join("folder");
    let folder = folder.to_str().unwrap();
    for (arguments, words) in [
        (&["fly"][..], "expected nothing, pack DIR or run DIR, got 'fly'"),
        (&["pack"], "got 'pack'"),
        (&["run", "/nowhere/at/all"], "there is no folder /nowhere/at/all"),
        (&["run", empty.path().to_str().unwrap()], "has no programs"),
        (&["--device", "tpu", "run", "x"], "--device must be cpu or cuda, got 'tpu'"),
        (&["--seconds", "soon"], "--seconds must be a number, got 'soon'"),
        (&["pack", folder], "libtorch in /nowhere has no CUDA: sh scripts/libtorch.sh cuda"),
    ] {
        assert_one_line(&gpu_sh(arguments), words);
    }
}
