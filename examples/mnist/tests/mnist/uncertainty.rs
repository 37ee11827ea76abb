//! The example `uncertainty`: its command line, its picture and its output.

use std::fs;
use std::process::Output;

use tempfile::TempDir;

use crate::program::{assert_error, assert_usage_error, example, files, stderr, stdout};

fn uncertainty(directory: &TempDir, arguments: &[&str]) -> Output {
    example("uncertainty").current_dir(directory.path()).args(arguments).output().unwrap()
}

#[test]
fn a_rotated_digit_is_drawn_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--synthetic", "--passes", "20", "--digit", "7", "--out", "seven.svg"];
    let output = uncertainty(&directory, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let svg = fs::read_to_string(directory.path().join("seven.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
    assert_eq!(svg.matches("scale(").count(), 13, "a digit every 15 degrees");
    assert_eq!(svg.matches("title middle").count(), 4, "four classes have a name");
    let text = stdout(&output);
    assert!(text.starts_with("A 7 is rotated, 20 passes at each angle.\nUpright: 7 "), "{text}");
    let trial = "a trial: figures mean nothing";
    assert!(svg.contains(trial));
    for words in ["Least sure: ", "Upside down: ", "Its answer changes: ", trial, "wrote seven.svg"]
    {
        assert!(text.contains(words), "{words:?} should be in: {text}");
    }
}

#[test]
fn no_file_is_written_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let output = uncertainty(&directory, &["--synthetic", "--passes", "2"]);
    assert!(stdout(&output).contains("Least sure: "), "{}", stderr(&output));
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_bad_argument_is_named_with_what_was_expected() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--passes", "0"][..], &["--passes", "at least 1, got 0"][..]),
        (&["--digit", "10"], &["--digit", "at most 9, got 10"]),
        (&["--digit", "six"], &["--digit", "expected a whole number, got 'six'"]),
        (&["--seed", "1.5"], &["--seed", "expected a whole number, got '1.5'"]),
        (&["--synthetic", "--data-dir", "x"], &["--synthetic", "--data-dir"]),
        (&["--out", "x.png"], &["--out", "x.png", "SVG", "ends in .svg"]),
        (&["--device", "gpu"], &["--device", "auto, cpu, cuda, cuda:N or mps"]),
        (&["--batch-size", "0"], &["--batch-size", "at least 1, got 0"]),
        (&["--colour"], &["--colour"]),
    ] {
        assert_usage_error(&uncertainty(&directory, arguments), words);
    }
    for (file, words) in [
        ("no/such/x.svg", "cannot write no/such/x.svg: No such"),
        (".", "cannot write .: it is a directory"),
    ] {
        assert_error(&uncertainty(&directory, &["--synthetic", "--out", file]), &[words]);
    }
    assert!(files(directory.path()).is_empty(), "nothing is left behind");
}
