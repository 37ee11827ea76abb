//! The files that the experiment writes, and the disks that it writes them to.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{
    assert_usage_error, command, directory, files, json, mnist, stderr, stdout, succeed,
};

const SHORT: [&str; 5] = ["--synthetic", "--train-limit", "300", "--layers", "none"];

#[test]
fn a_plot_names_what_it_shows() {
    let directory = directory();
    let arguments = ["--layers", "none,dropout,channels", "--runs", "2", "--epochs", "4"];
    let files = ["--plot", "x.svg", "--json", "x.json", "--synthetic", "--train-limit", "1000"];
    succeed(&directory, &[&arguments[..], &files, &["--batch-size", "32"]].concat());
    let svg = fs::read_to_string(directory.path().join("x.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    let texts: Vec<_> = svg.lines().map(str::trim).collect();
    for text in [
        "built-in digits, 1000 training images: article, p = 0.5, 2 runs",
        "none",
        "dropout",
        "channels",
        "step",
        "epoch",
        // A fortieth of 32 steps in each of 4 epochs.
        "training loss, mean of 3 steps, log scale",
        "macro F1 on the test set, mean ± standard error",
    ] {
        assert!(texts.contains(&text), "{text:?} should be in {svg}");
    }
    assert_eq!(svg.matches("class=\"line").count(), 6, "a line each on both sides");
    assert_eq!(svg.matches("class=\"area\"").count(), 3, "two runs have a standard error");

    for result in json(&directory.path().join("x.json"))["results"].as_array().unwrap() {
        let epochs = result["macro_f1_per_epoch"].as_array().unwrap();
        assert_eq!(epochs.len(), 4);
        assert_eq!(epochs[3], result["macro_f1"]);
        assert_ne!(epochs[0], result["macro_f1"]);
    }
}

/// With so few epochs that each of them counts, none is below the picture.
#[test]
fn a_plot_of_few_epochs_shows_the_first() {
    let directory = directory();
    let arguments = ["--epochs", "4", "--batch-size", "50", "--plot", "x.svg"];
    succeed(&directory, &[&SHORT[..], &arguments].concat());
    let svg = fs::read_to_string(directory.path().join("x.svg")).unwrap();
    let line = svg.lines().filter(|line| line.contains("class=\"line")).nth(1).unwrap();
    assert_eq!(line.matches(['M', 'L']).count(), 4, "a point for each epoch: {line}");
}

/// However it is stopped: Ctrl-C ends it just as this does, as it does no cleanup.
#[test]
fn a_training_that_is_stopped_leaves_the_runs_before() {
    for delay in [0, 7, 50] {
        let directory = directory();
        let arguments = ["--epochs", "1", "--runs", "10000", "--json", "x.json"];
        let mut child = command(&directory, &[&SHORT[..], &arguments].concat())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let file = directory.path().join("x.json");
        let start = Instant::now();
        while !file.exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "no run has ended");
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        let report = json(&file);
        let runs = report["results"][0]["macro_f1"]["runs"].as_array().unwrap().len();
        assert!((1..10_000).contains(&runs), "{runs}");
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode()
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// New files have the default mode, old ones keep theirs; links keep their targets, even if the target
/// did not exist.
#[cfg(unix)]
#[test]
fn written_files_are_like_any_other() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("other"), "").unwrap();
    for (link, target) in [("x.json", "behind"), ("x", "y"), ("y", "new")] {
        std::os::unix::fs::symlink(target, path(link)).unwrap();
    }
    fs::write(path("behind"), "old").unwrap();
    set_mode(&path("behind"), 0o600);
    let arguments = ["--epochs", "1", "--json", "x.json", "--plot", "x.svg", "--save", "x"];
    succeed(&directory, &[&SHORT[..], &arguments].concat());
    for name in ["x.svg", "new"] {
        assert_eq!(mode(&path(name)), mode(&path("other")), "{name}");
    }
    assert_eq!(mode(&path("behind")) & 0o777, 0o600, "a mode stays as it is");
    for link in ["x.json", "x", "y"] {
        assert!(path(link).symlink_metadata().unwrap().is_symlink(), "{link} stays a link");
    }
    assert!(json(&path("behind"))["results"].is_array());
    let expected = ["behind", "new", "other", "x", "x.json", "x.svg", "y"];
    assert_eq!(files(directory.path()), expected, "nothing else is left");
}

#[cfg(unix)]
#[test]
fn one_file_for_two_outputs_is_an_error_under_whatever_names() {
    let directory = directory();
    for (link, target) in [("here", "."), ("link", "target"), ("other", "link")] {
        std::os::unix::fs::symlink(target, directory.path().join(link)).unwrap();
    }
    fs::create_dir(directory.path().join("below")).unwrap();
    let absolute = directory.path().join("target");
    for (json, plot) in [
        ("x.svg", "here/x.svg"),
        ("below/../x.svg", "x.svg"),
        ("target", "link"),
        ("other", "link"),
        (absolute.to_str().unwrap(), "here/other"),
    ] {
        let output = mnist(&directory, &[&SHORT[..], &["--json", json, "--plot", plot]].concat());
        assert_usage_error(&output, &["two outputs", json, plot]);
    }
}

/// Runs the experiment with file sizes limited to this many blocks of 512 bytes, as on a disk that is
/// nearly full.
#[cfg(unix)]
fn with_little_room(directory: &TempDir, blocks: u32, arguments: &[&str]) -> Output {
    after(&format!("trap '' XFSZ; ulimit -f {blocks}"), directory, arguments)
}

/// Runs the experiment in a shell that has done this before.
#[cfg(unix)]
fn after(preparation: &str, directory: &TempDir, arguments: &[&str]) -> Output {
    let program = command(directory, &[&SHORT[..], arguments].concat());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{preparation}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args()).current_dir(directory);
    shell.output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_full_disk_costs_only_what_does_not_fit() {
    let arguments = ["--epochs", "1", "--json", "x.json", "--plot", "x.svg", "--save", "x"];
    let no_room = |file: &str| format!("cannot write {file}: File too large");
    for (blocks, written, missing) in
        [(8, &["x.json", "x.svg"][..], &["x"][..]), (0, &[], &["x.json", "x.svg", "x"])]
    {
        let directory = directory();
        let output = with_little_room(&directory, blocks, &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).contains("macro F1"), "there is a table: {}", stdout(&output));
        let text = stderr(&output);
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: "), "{text}");
        assert!(missing.iter().all(|file| last.contains(&no_room(file))), "{text}");
        assert!(!text.contains(".tmp"), "{text}");
        assert_eq!(files(directory.path()), written, "nothing else is left");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_at_once_and_tried_again() {
    let directory = directory();
    let arguments = ["--epochs", "1", "--runs", "2", "--json", "x.json"];
    let output = with_little_room(&directory, 0, &arguments);
    let note = "NOTE: cannot write x.json: File too large (os error 27); trying again";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
}

/// A limit that is not ignored kills the program in the middle of a file.
#[cfg(unix)]
#[test]
fn what_is_left_of_a_killed_program_is_swept_by_the_next() {
    let directory = directory();
    let arguments = ["--epochs", "1", "--save", "x"];
    let killed = after("ulimit -f 8", &directory, &arguments);
    assert_eq!(killed.status.code(), None, "it should be killed: {}", stderr(&killed));
    let left = files(directory.path());
    assert!(left.len() == 1 && left[0] != "x", "an unfinished file is left: {left:?}");

    // One that another program still writes has a lock, and stays.
    let other = left[0].clone() + "2";
    let written = fs::File::create_new(directory.path().join(&other)).unwrap();
    written.lock().unwrap();
    succeed(&directory, &[&SHORT[..], &arguments].concat());
    assert_eq!(files(directory.path()), [&other, "x"]);
    drop(written);
    succeed(&directory, &[&SHORT[..], &arguments].concat());
    assert_eq!(files(directory.path()), ["x"]);
}

/// As /dev/stdout may be.
#[cfg(unix)]
#[test]
fn a_pipe_is_written_to_and_not_replaced() {
    let directory = directory();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    succeed(&directory, &[&SHORT[..], &["--epochs", "1", "--json", "pipe"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&reader.join().unwrap()).unwrap();
    assert_eq!(report["dataset"]["train"], 300);
    assert!(!pipe.metadata().unwrap().is_file());
}
