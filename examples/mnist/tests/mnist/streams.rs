//! Standard output and standard error, whatever they are connected to.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::program::{command, directory, example, stderr};

const SHORT: [&str; 7] =
    ["--synthetic", "--train-limit", "300", "--layers", "none", "--epochs", "1"];

/// All that the programs print: their help, and a result.
fn programs(directory: &TempDir) -> [Command; 4] {
    let uncertainty = |arguments: &[&str]| {
        let mut program = example("uncertainty");
        program.current_dir(directory).args(arguments);
        program
    };
    [
        command(directory, &["--help"]),
        command(directory, &SHORT),
        uncertainty(&["--help"]),
        uncertainty(&["--synthetic", "--passes", "2"]),
    ]
}

#[test]
fn a_reader_that_goes_away_has_read_enough() {
    for mut program in programs(&directory()) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        let text = stderr(&output);
        assert!(output.status.success(), "{program:?}: {text}");
        assert!(!text.contains("error") && !text.contains("panicked"), "{program:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_stops_nothing() {
    for mut program in programs(&directory()) {
        let output = program.stderr(full()).output().unwrap();
        assert!(output.status.success(), "{program:?}");
        assert!(!output.stdout.is_empty(), "{program:?}");
    }
    let bad = command(&directory(), &["--epochs", "0"]).stderr(full()).status().unwrap();
    assert_eq!(bad.code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let output = command(&directory(), &SHORT).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = "error: cannot write to standard output: No space left on device";
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn the_table_fits_a_narrow_terminal() {
    use crate::program::on_terminal;
    let directory = directory();
    let arguments = ["--synthetic", "--train-limit", "300", "--epochs", "1", "--runs", "2"];
    let Some(text) = on_terminal(&command(&directory, &arguments), 40) else { return };
    let table = text.lines().skip_while(|line| !line.starts_with('─'));
    let table: Vec<_> = table.take_while(|line| !line.starts_with("true_dropout and")).collect();
    assert!(table.len() > 10, "{text}");
    for line in &table {
        assert!(line.chars().count() <= 40, "{line:?} in {text}");
    }
    // A figure is on the first line of its row, and what it varies by on the second.
    let row = table.iter().position(|line| line.starts_with("drop_connect ")).expect(&text);
    assert_eq!(table[row].matches('.').count(), 3, "{text}");
    assert_eq!(table[row + 1].matches('.').count(), 3, "{text}");
}
