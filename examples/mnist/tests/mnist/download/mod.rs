//! The MNIST example's download, and what can go wrong: the servers, the disk, the user's Ctrl-C.

#[cfg(target_os = "linux")]
mod disk;
#[cfg(unix)]
mod interrupted;
mod server;
#[cfg(target_os = "linux")]
mod terminal;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::program::{example, files, mnist_directory, stderr};
use server::*;

/// The example with the shortest possible training, which leaves cores to the other tests.
fn brief_example(mirrors: &[String]) -> Command {
    let mut command = example("mnist");
    command.env("MNIST_MIRRORS", mirrors.join(" ")).env("NO_PROXY", "127.0.0.1");
    command.env("OMP_NUM_THREADS", "1");
    command.args(["--layers", "none", "--epochs", "1", "--batch-size", "6000"]);
    command
}

fn download(into: &Path, mirrors: &[String]) -> Output {
    brief_example(mirrors).arg("--data-dir").arg(into).output().unwrap()
}

fn empty_directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

const FOUR_FILES: [&str; 4] = [
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
];

/// Asserts that a directory has MNIST's four files and nothing else.
#[track_caller]
fn assert_is_mnist(directory: &Path, mnist: &Path) {
    assert_eq!(files(directory), FOUR_FILES);
    for name in FOUR_FILES {
        let is_same =
            fs::read(directory.join(name)).unwrap() == fs::read(mnist.join(name)).unwrap();
        assert!(is_same, "{name} is another file");
    }
}

/// Starts all these servers, lets the example try one after another, and asserts that each gets one
/// line, with these words, before the built-in digits stand in for MNIST.
#[track_caller]
fn assert_lines(faults: &[(Answer, &str)], timeout: &str) {
    let directory = empty_directory();
    let mirrors: Vec<_> = faults.iter().map(|(answer, _)| serve(answer.clone())).collect();
    let mut command = brief_example(&mirrors);
    let output = command.current_dir(&directory).env("MNIST_TIMEOUT", timeout).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let mut lines = text.lines().filter(|line| !line.starts_with("Downloading"));
    for (mirror, (_, words)) in mirrors.iter().zip(faults) {
        let line = lines.next().unwrap_or_default();
        let start = format!("{mirror}/train-images-idx3-ubyte.gz: {words}");
        assert!(line.starts_with(&start), "{start:?} should be in\n{text}");
    }
    let note = "NOTE: MNIST could not be downloaded from any mirror; training on built-in digits, \
                not on MNIST.";
    assert_eq!(lines.next(), Some(note));
    assert!(lines.next().unwrap_or_default().starts_with("built-in digits: 10000 training"));
    assert!(files(directory.path()).is_empty(), "no directory is left behind");
}

#[test]
fn each_fault_is_one_line_and_built_in_digits_stand_in() {
    let bomb = gzip(&vec![0; 100 << 20]);
    let another =
        "what came is of no use: it is not MNIST's train-images-idx3-ubyte: its SHA-256 is";
    assert_lines(
        &[
            (status(404), "http status: 404"),
            (status(500), "http status: 500"),
            (wrong(b"not a digit"), "what came is of no use: it is not compressed"),
            (wrong(b""), "what came is of no use: it is not compressed"),
            (wrong(&gzip(b"not a digit")), another),
            (wrong(&gzip(b"not a digit")[..20]), "what came is of no use: it is damaged: "),
            (wrong(&bomb), another),
            (redirect(serve(status(404))), "http status: 404"),
            (redirect(String::new()), "too many redirects"),
            (redirect("http://127.0.0.1:9".to_owned()), "Connection refused"),
            (cut_off(), "Peer disconnected"),
            (boasts(), "Peer disconnected"),
            (endless(), "more came than MNIST has"),
            (hangs_up(), "Peer disconnected"),
            (speaks_no_http(), "protocol: http parse fail"),
        ],
        "60",
    );
}

#[test]
fn a_slow_server_has_so_much_time_and_no_more() {
    let late = "it was not there after 1 s";
    assert_lines(&[(silent(), late), (slow(), late), (slow_to_start(), late)], "1");
}

#[test]
fn after_a_fault_the_next_mirror_helps() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let labels = fs::read(mnist.join(FOUR_FILES[1])).unwrap();
    let faults = [status(500), cut_off(), wrong(&labels), hangs_up()].map(serve);
    let output = download(directory.path(), &[&faults[..], &[serve(good(&mnist))]].concat());
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    for (fault, name) in faults.iter().flat_map(|fault| FOUR_FILES.map(|name| (fault, name))) {
        let start = format!("{fault}/{name}: ");
        let lines = text.lines().filter(|line| line.starts_with(&start)).count();
        let is_right = *fault == faults[2] && name == FOUR_FILES[1];
        let is_tried = !(name == FOUR_FILES[1] && *fault == faults[3]);
        assert_eq!(lines, usize::from(is_tried && !is_right), "{start}\n{text}");
    }
    assert!(text.contains("MNIST: 60000 training and 10000 test images"));
    assert_is_mnist(directory.path(), &mnist);
}

/// A client may decode what the header calls encoded, and then has plain files instead of compressed ones.
#[test]
fn a_server_that_calls_the_files_encoded_does_no_harm() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let mirrors = [calls_it_encoded(&mnist), good(&mnist)].map(serve);
    let output = download(directory.path(), &mirrors);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_is_mnist(directory.path(), &mnist);
}

#[test]
fn what_is_there_is_not_downloaded_again() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let redirect = serve(redirect(serve(good(&mnist))));
    assert!(download(directory.path(), &[redirect]).status.success());
    let output = download(directory.path(), &[serve(status(404))]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("404"));
}

#[test]
fn a_part_of_mnist_is_completed() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let part = FOUR_FILES[3];
    fs::copy(mnist.join(part), directory.path().join(part)).unwrap();
    let output = download(directory.path(), &[serve(good(&mnist))]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_is_mnist(directory.path(), &mnist);
}

#[test]
fn no_good_mirror_is_an_error_for_a_directory_that_is_named() {
    let directory = empty_directory();
    let output = download(directory.path(), &[serve(status(404)), serve(wrong(b"not a digit"))]);
    assert!(!output.status.success());
    let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
    let error =
        "error: MNIST could not be downloaded from any mirror; --synthetic takes built-in digits";
    assert_eq!(last, error);
    assert!(files(directory.path()).is_empty());
}

#[test]
fn two_at_once_end_with_one_good_copy() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let mirrors = [serve(good_for_two(&mnist))];
    let outputs = std::thread::scope(|scope| {
        let start = || scope.spawn(|| download(directory.path(), &mirrors));
        [start(), start()].map(|thread| thread.join().unwrap())
    });
    for output in outputs {
        let text = stderr(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("MNIST: 60000 training and 10000 test images"), "{text}");
    }
    assert_is_mnist(directory.path(), &mnist);
}
