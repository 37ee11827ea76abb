//! The examples' programs: what they do with bad arguments, and when the reader of their output goes away.

mod common;

use std::io::{self, Read};
use std::process::{Command, Stdio};

use common::{example, stderr, stdout};

/// The input of `speed_chart`.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/speed.json");
const MASKS: &[&str] = &["--out", "x.svg"];
const SPEED_CHART: &[&str] = &[FIGURES, "--out", "x.svg"];

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut program = example(name);
    program.args(arguments);
    program
}

#[test]
fn a_bad_argument_is_named_with_what_was_expected() {
    for (name, arguments, words) in [
        ("article", &["--epochs"][..], "'--epochs'"),
        ("article", &["more"], "'more'"),
        ("masks", &[], "--out <FILE>"),
        ("speed_chart", &[FIGURES], "--out <FILE>"),
        ("stream", &["--seed", "1.5"], "a whole number from 0 to 18446744073709551615, got '1.5'"),
        ("stream", &["--seed", "-1"], "a whole number from 0 to 18446744073709551615, got '-1'"),
        ("stream", &["--worker", "65536"], "a whole number from 0 to 65535, got '65536'"),
        ("stream", &["--words", "0"], "a whole number from 1 to 18446744073709551615, got '0'"),
    ] {
        let output = program(name, arguments).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {text}");
        assert!(text.starts_with("error: ") && text.contains(words), "{text}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_reader_that_goes_away_has_read_enough() {
    let directory = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("article", &[][..]),
        ("article", &["--help"]),
        ("stream", &["--help"]),
        ("stream", &[]),
        ("masks", MASKS),
        ("speed_chart", SPEED_CHART),
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut program = program(name, arguments);
        program.current_dir(directory.path()).stdout(writer).stderr(Stdio::piped());
        let output = program.spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{name} {arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{name} {arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_streams_are_errors_and_no_panics() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (name, arguments) in
        [("article", &[][..]), ("stream", &[]), ("masks", MASKS), ("speed_chart", SPEED_CHART)]
    {
        let program = || {
            let mut program = program(name, arguments);
            program.current_dir(directory.path()).stdout(full());
            program
        };
        let output = program().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = stderr(&output);
        assert!(text.starts_with("error: ") && text.contains("No space left"), "{name}: {text}");
        let status = program().stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{name}");
    }
}

/// However large a mask is, its numbers come at once, and are those of a smaller one.
#[test]
fn a_mask_of_any_size_takes_no_memory() {
    let start = |words: &str| {
        let mut stream = program("stream", &["--words", words]);
        let mut child = stream.stdout(Stdio::piped()).spawn().unwrap();
        let mut bytes = vec![0; 300_000];
        child.stdout.take().unwrap().read_exact(&mut bytes).unwrap();
        assert!(child.wait().unwrap().success());
        bytes
    };
    let expected = start("262144");
    for words in ["99999999999999", "18446744073709551615"] {
        assert!(start(words) == expected, "{words}");
    }
}
