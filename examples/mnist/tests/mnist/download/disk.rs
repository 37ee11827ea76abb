//! Disks that are full or read-only.

use std::fs;
use std::process::{Command, Output};

use super::*;
use crate::program::stdout;

/// Runs the example where `data/mnist` is a separate disk, mounted with these options; afterwards the
/// standard output names the files there. The mounts are in the example's own namespace, so they vanish
/// with it and need no root. Returns nothing where that is not allowed.
fn on_disk(options: &str, mirrors: &[String], arguments: &[&str]) -> Option<Output> {
    let script = |then: &str| format!("mount -t tmpfs -o {options} none data/mnist && {then}");
    let directory = empty_directory();
    fs::create_dir_all(directory.path().join("data/mnist")).unwrap();
    let unshare = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script]).current_dir(&directory);
        command
    };
    let is_allowed = unshare(script("true")).output();
    if !is_allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: no disk can be mounted here");
        return None;
    }
    let example = brief_example(mirrors);
    let mut command = unshare(script("\"$0\" \"$@\"; exit=$?; ls -A data/mnist; exit $exit"));
    command.arg(example.get_program()).args(example.get_args()).args(arguments);
    command.envs(example.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command.output().unwrap())
}

/// Asserts that such a disk is an error if the user named the directory, and that otherwise the
/// built-in digits stand in.
#[track_caller]
fn assert_refuses(options: &str, mirrors: &[String], reason: &str) {
    let refusal = format!("cannot write to the data directory data/mnist: {reason}");
    let Some(output) = on_disk(options, mirrors, &["--data-dir", "data/mnist"]) else { return };
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("error: {refusal}")), "{text}");
    assert_eq!(stdout(&output), "", "nothing is left behind");

    let Some(output) = on_disk(options, mirrors, &[]) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("NOTE: {refusal}")), "{text}");
    assert!(text.contains("built-in digits: 10000 training"), "{text}");
}

#[test]
fn a_disk_that_can_only_be_read_says_so_before_the_download() {
    assert_refuses("ro", &[serve(status(404))], "Read-only file system");
}

#[test]
fn a_disk_that_has_no_room_for_a_file_says_so_before_the_download() {
    assert_refuses("nr_inodes=1", &[serve(status(404))], "No space left on device");
}

#[test]
fn a_disk_that_has_too_little_room_says_so() {
    let Some(mnist) = mnist_directory() else { return };
    assert_refuses("size=1m", &[serve(good(&mnist))], "No space left on device");
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let directory = empty_directory();
    fs::write(directory.path().join("file"), "").unwrap();
    let output = download(&directory.path().join("file/data"), &[]);
    assert!(!output.status.success());
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("file/data"));
}
