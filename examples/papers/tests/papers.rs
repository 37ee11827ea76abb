//! Each experiment with `--quick`: it writes its picture and its figures, the same ones each time.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const EXPERIMENTS: [&str; 8] = [
    "errors",
    "data-size",
    "rate",
    "features",
    "drop-connect",
    "regression",
    "calibration",
    "depth",
];

/// The program, which `cargo test` builds with the tests.
fn papers(directory: &TempDir, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.parent().and_then(Path::parent).expect("tests are in target/release/deps");
    let program = target.join("examples").join(format!("papers{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "run cargo build --examples");
    let mut program = Command::new(program);
    program.current_dir(directory.path()).env("MNIST_MIRRORS", "http://127.0.0.1:9");
    program.args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The figures and the picture of a quick run, and what it printed.
#[track_caller]
fn quick(experiment: &str) -> (Value, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--quick", "--synthetic", "--json", "x.json", "--plot", "x.svg"];
    let output = papers(&directory, &[&[experiment], &arguments[..]].concat());
    assert!(output.status.success(), "{experiment}: {}", stderr(&output));
    let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (serde_json::from_str(&read("x.json")).unwrap(), read("x.svg"), printed)
}

#[test]
fn each_experiment_writes_its_figures_and_its_picture_the_same_ones_each_time() {
    for experiment in EXPERIMENTS {
        let (mut json, svg, printed) = quick(experiment);
        assert_eq!(json["experiment"], experiment);
        assert_eq!((&json["quick"], &json["runs"]), (&Value::from(true), &Value::from(2)));
        assert!(json["device"].is_string(), "{experiment}: {json}");
        let trial = "a trial: figures mean nothing";
        assert!(printed.ends_with(&format!("\nThis is {trial}.\n")), "{experiment}: {printed}");
        assert!(svg.contains(trial), "{experiment}");
        for text in [&printed, &svg] {
            assert!(!text.contains("the paper"), "{experiment}: no trial has a paper's figure");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{experiment}");
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count(), "{experiment}");
        for word in ["NaN", "inf\""] {
            assert!(!svg.contains(word), "{experiment} has {word}");
        }
        let (mut again, svg_again, printed_again) = quick(experiment);
        if experiment == "depth" {
            // How long it takes is never the same.
            for json in [&mut json, &mut again] {
                for outcome in json["results"].as_array_mut().unwrap() {
                    outcome["seconds_per_epoch"].take();
                }
            }
        } else {
            assert_eq!(printed, printed_again);
            assert!(svg == svg_again, "{experiment}: another picture");
        }
        assert_eq!(json, again);
    }
}

/// Networks that were trained one at a time are compared and drawn as if they had been trained together, beside those
/// that were trained for longer.
#[test]
fn files_of_several_runs_are_drawn_together() {
    let directory = tempfile::tempdir().unwrap();
    let errors = |arguments: &[&str]| {
        let output = papers(&directory, &[&["errors"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let train = |networks, epochs, json| {
        let of_the_network = ["--networks", networks, "--units", "8", "--epochs", epochs];
        let small = ["--synthetic", "--batch-size", "2000", "--runs", "1", "--json", json];
        errors(&[&of_the_network[..], &small, &["--plot", "x.svg"]].concat())
    };
    let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    let printed = train("none,elements", "2", "both.json");
    let picture = read("x.svg");
    train("elements", "2", "elements.json");
    train("none", "2", "none.json");
    assert_eq!(errors(&["--from", "elements.json,none.json", "--plot", "y.svg"]), printed);
    assert!(read("y.svg") == picture);

    let longer = train("none,elements", "3", "longer.json");
    let all = errors(&["--from", "longer.json,elements.json,none.json", "--plot", "y.svg"]);
    let trial = "This is a trial: figures mean nothing.\n";
    let [short, long] = [printed, longer].map(|text| text.replace(trial, ""));
    assert_eq!(all, format!("After 2 passes:\n{short}After 3 passes:\n{long}{trial}"));
    assert_eq!(read("y.svg").matches(">\ntest error in %").count(), 2);
}

#[test]
fn files_of_anything_else_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for experiment in ["errors", "rate"] {
        let json = format!("{experiment}.json");
        let arguments = [experiment, "--quick", "--synthetic", "--runs", "1", "--json", &json];
        assert!(papers(&directory, &arguments).status.success());
    }
    for (file, words) in [
        ("errors.json", "cannot read errors.json: its figures are a trial's"),
        ("rate.json", "cannot read rate.json: its figures are of rate"),
        ("none-there.json", "cannot read none-there.json: No such file"),
    ] {
        let output = papers(&directory, &["errors", "--from", file]);
        let text = stderr(&output);
        assert!(!output.status.success() && output.stdout.is_empty(), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn another_seed_gives_other_figures() {
    let directory = tempfile::tempdir().unwrap();
    let printed = |seed| {
        let arguments = ["data-size", "--quick", "--synthetic", "--runs", "1", "--seed", seed];
        let output = papers(&directory, &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    assert_ne!(printed("1"), printed("2"));
}

#[test]
fn a_batch_is_as_large_as_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let printed = |size| {
        let arguments =
            ["data-size", "--quick", "--synthetic", "--runs", "1", "--batch-size", size];
        let output = papers(&directory, &[&arguments[..], &["--device", "cpu"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    assert_ne!(printed("50"), printed("100"));
}

#[test]
fn no_more_images_than_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let output = papers(&directory, &["data-size", "--synthetic", "--images", "100,10001"]);
    let text = stderr(&output);
    assert!(!output.status.success() && output.stdout.is_empty(), "{text}");
    let words = "error: there are 10000 images to train on, fewer than 10001\n";
    assert!(text.ends_with(words), "{text}");
}

/// A single number of images, and a training of any length, are drawn too.
#[test]
fn data_may_be_of_one_size() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--synthetic", "--images", "100", "--hidden", "8", "--least-steps", "0"];
    let files = ["--runs", "1", "--json", "x.json", "--plot", "x.svg"];
    let output = papers(&directory, &[&["data-size"], &arguments[..], &files].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("x.json")).unwrap();
    assert_eq!(json["results"].as_array().unwrap().len(), 1);
    assert!(!read("x.svg").contains("NaN") && !read("x.svg").contains("inf"));
}

#[test]
fn a_device_that_is_not_there_is_one_clear_line() {
    if tch::Cuda::is_available() || tch::utils::has_mps() {
        println!("skipped: there is a GPU");
        return;
    }
    let reason = if tch::utils::has_cudart() { "finds no GPU" } else { "built without CUDA" };
    let directory = tempfile::tempdir().unwrap();
    for experiment in EXPERIMENTS {
        for (device, reason) in [("cuda", reason), ("mps", "finds no MPS device")] {
            let output = papers(&directory, &[experiment, "--quick", "--device", device]);
            let text = stderr(&output);
            assert!(text.starts_with("error: ") && text.contains(reason), "{experiment}: {text}");
            assert_eq!(text.lines().count(), 1, "{experiment}: {text}");
        }
    }
}

#[test]
fn a_mistake_is_told_before_anything_is_trained() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["data-sizes"][..], "data-sizes"),
        (&["rate", "--runs", "0"], "expected at least 1, got 0"),
        (&["rate", "--seed", "one"], "expected a whole number, got 'one'"),
        (&["errors", "--units", "0"], "expected at least 1, got 0"),
        (&["depth", "--plot", "x.png"], "ends in .svg"),
        (&["depth", "--batch-size", "0"], "expected at least 1, got 0"),
        (&["data-size", "--images", "100,0"], "expected at least 1, got 0"),
        (&["drop-connect", "--images", "0"], "expected at least 1, got 0"),
        (&["errors", "--from", "x.json", "--epochs", "3"], "cannot be used with"),
        (&["regression", "--batch-size", "5"], "all points in each step"),
        (&["rate", "--device", "gpu"], "expected auto, cpu, cuda, cuda:N or mps"),
        (&["rate", "--synthetic", "--data-dir", "x"], "--data-dir"),
        (&["rate", "--synthetic", "--json", "no/such/x.json"], "cannot write no/such/x.json"),
        (&["regression", "--plot", "no/such/x.svg"], "cannot write no/such/x.svg"),
        (&["rate", "--synthetic", "--json", "x.svg", "--plot", "x.svg"], "the same file"),
    ] {
        let output = papers(&directory, arguments);
        let text = stderr(&output);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {text}");
        assert!(text.starts_with("error: ") && text.contains(words), "{arguments:?}: {text}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}
