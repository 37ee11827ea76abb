//! The examples that draw: their command lines, what they write, and what they say.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{example, stderr};
use tempfile::TempDir;

/// What the repository's pages may take.
const MOST_BYTES: usize = 60_000;

fn run(name: &str, directory: &TempDir, arguments: &[&str]) -> Output {
    example(name).current_dir(directory.path()).args(arguments).output().unwrap()
}

/// Asserts that the picture is there, small, and well-formed as far as counting tags can tell.
#[track_caller]
fn picture(path: &Path) -> String {
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.len() < MOST_BYTES, "{} bytes", svg.len());
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    svg
}

#[test]
fn masks_are_drawn_as_the_noise_shapes_say() {
    let directory = tempfile::tempdir().unwrap();
    let output = run("masks", &directory, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let svg = picture(&directory.path().join("masks.svg"));
    for name in ["Columns", "Elements", "Channels", "Samples", "DropConnect"] {
        assert!(svg.contains(name), "{name}");
    }
    // Cells in the order they are drawn: a panel, a row, a column.
    let cells: Vec<bool> = svg
        .lines()
        .filter(|line| line.contains("width=\"10\" height=\"10\""))
        .map(|line| line.contains("#0072B2"))
        .collect();
    let panels: Vec<&[bool]> = cells.chunks(8 * 12).collect();
    assert_eq!(panels.len(), 6, "and two in the legend");
    let rows = |panel: usize| panels[panel].chunks(12);
    let whole_groups =
        |panel| rows(panel).all(|r| r.chunks(3).all(|c| c.iter().all(|k| *k == c[0])));
    assert!(rows(0).all(|row| row == &panels[0][..12]), "columns are shared by the samples");
    assert!(whole_groups(0) && whole_groups(2), "columns and channels are whole");
    assert!(!whole_groups(1), "elements are not");
    assert!(rows(3).all(|row| row.iter().all(|kept| *kept == row[0])), "samples are whole rows");
    assert!(panels[..5].iter().all(|panel| panel.contains(&true) && panel.contains(&false)));
}

#[test]
fn a_seed_decides_the_masks() {
    let directory = tempfile::tempdir().unwrap();
    let of = |seed: &str| {
        run("masks", &directory, &["--seed", seed]);
        fs::read(directory.path().join("masks.svg")).unwrap()
    };
    let first = of("1");
    assert_eq!(first, of("1"));
    assert_ne!(first, of("2"));
}

#[test]
fn a_picture_that_cannot_be_written_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = run("masks", &directory, &["--out", "no/such/x.svg"]);
    assert!(stderr(&output).starts_with("error: cannot write no/such/x.svg"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}
