//! The example that trains a language model, each of its models: the table and the picture.

mod common;

use std::fs;
use std::process::Output;

use common::{example, stderr, stdout};
use tempfile::TempDir;

fn run(directory: &TempDir, arguments: &[&str]) -> Output {
    let mut program = example("language_model");
    program.current_dir(directory.path()).env("OMP_NUM_THREADS", "1").args(arguments);
    program.output().unwrap()
}

/// The losses of each row: without dropout, and with it, on the training text and on the other.
fn losses(output: &str) -> Vec<(u32, [f64; 4])> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [step, _seconds, losses @ ..] = words.as_slice() else { return None };
        let losses: Vec<f64> =
            losses.iter().map(|loss| loss.parse().ok()).collect::<Option<_>>()?;
        Some((step.parse().ok()?, losses.try_into().ok()?))
    };
    output.lines().filter_map(row).collect()
}

#[test]
fn both_begin_alike_and_learn_and_the_seed_decides() {
    for (model, caption) in [("transformer", "Transformer of "), ("lstm", "LSTM of ")] {
        let directory = tempfile::tempdir().unwrap();
        let of = |seed: &str| {
            let quick = ["--quick", "--model", model, "--seed", seed, "--out", "x.svg"];
            let output = run(&directory, &quick);
            assert!(output.status.success(), "{}", stderr(&output));
            losses(&stdout(&output))
        };
        let found = of("1");
        assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), (0..=10).collect::<Vec<_>>());
        let ((_, first), (_, last)) = (found[0], found[10]);
        assert_eq!(first[..2], first[2..], "{model}");
        assert_ne!(last[..2], last[2..], "{model}");
        for (first, last) in first.iter().zip(last) {
            // A guess among 77 characters has a loss of 4.34.
            assert!((4.3..5.0).contains(first), "{model}: {first}");
            assert!(last < first - 0.5, "{model}: {first} to {last}");
        }
        assert_eq!(of("1"), found, "{model}");
        assert_ne!(of("2"), found, "{model}");

        let svg = fs::read_to_string(directory.path().join("x.svg")).unwrap();
        for words in [
            "The lowest validation loss: ",
            "on the training text, in nats per character",
            "without dropout",
            "a trial: figures mean nothing",
            caption,
        ] {
            assert!(svg.contains(words), "{words:?} should be in {svg}");
        }
        let lines: Vec<_> = svg.lines().filter(|line| line.contains("class=\"line")).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.matches('L').count() == 10), "{lines:?}");
    }
}

#[test]
fn with_all_probabilities_times_0_dropout_is_off_in_both() {
    for model in ["transformer", "lstm"] {
        let directory = tempfile::tempdir().unwrap();
        let output = run(&directory, &["--steps", "3", "--model", model, "--scale", "0"]);
        let found = losses(&stdout(&output));
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|(_, losses)| losses[..2] == losses[2..]), "{found:?}");
        let written = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(written, 0, "no file is written unasked");
    }
}

#[test]
fn a_device_that_is_not_there_is_one_clear_line() {
    if tch::Cuda::is_available() || tch::utils::has_mps() {
        println!("skipped: there is a GPU");
        return;
    }
    let reason = if tch::utils::has_cudart() { "finds no GPU" } else { "built without CUDA" };
    for (device, reason) in [("cuda", reason), ("mps", "finds no MPS device")] {
        let output = run(&tempfile::tempdir().unwrap(), &["--quick", "--device", device]);
        let text = stderr(&output);
        assert!(text.starts_with("error: ") && text.contains(reason), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_bad_argument_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--scale", "10"][..], "p must be a probability in [0, 1], got "),
        (&["--steps", "1", "--out", "no/such/x.svg"], "cannot write no/such/x.svg"),
        (&["--steps", "0"], "'0' for '--steps"),
        (&["--batch-size", "0"], "'0' for '--batch-size"),
        (&["--device", "gpu"], "expected auto, cpu, cuda, cuda:N or mps"),
        (&["--model", "rnn"], "possible values: transformer, lstm"),
    ] {
        let output = run(&directory, arguments);
        assert!(!output.status.success());
        let text = stderr(&output);
        assert!(text.starts_with("error: ") && text.contains(words), "{words:?}: {text}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}
