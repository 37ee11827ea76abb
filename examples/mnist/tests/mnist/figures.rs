//! The figures: in the table, in the JSON, and in the article.

use std::fs;

use serde_json::Value;

use crate::program::{directory, json, mnist, mnist_directory, stderr, stdout, succeed};

/// The same command gives the same figures, and the JSON agrees with the table.
#[test]
fn json_has_the_figures_and_a_seed_decides_them() {
    let directory = directory();
    let run = |file: &str, seed: &str| {
        let arguments =
            ["--synthetic", "--runs", "2", "--epochs", "1", "--seed", seed, "--json", file];
        let output = mnist(&directory, &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        (json(&directory.path().join(file)), stdout(&output))
    };
    let (first, table) = run("first.json", "7");
    assert_eq!(
        first["dataset"],
        serde_json::json!({"name": "built-in digits", "train": 10000, "test": 2000})
    );
    assert!(first["device"].is_string());
    assert_eq!(first["config"]["seed"], 7);
    let layers: Vec<_> = first["results"].as_array().unwrap().iter().map(|r| &r["layer"]).collect();
    assert_eq!(layers, ["none", "dropout", "true_dropout", "drop_connect", "libtorch"]);
    for result in first["results"].as_array().unwrap() {
        for figure in ["macro_f1", "accuracy", "seconds_per_epoch"] {
            assert!(result[figure]["mean"].is_f64() && result[figure]["std"].is_f64());
            assert_eq!(result[figure]["runs"].as_array().unwrap().len(), 2);
        }
        let shown = format!(
            "{:.4} ± {:.4}",
            result["macro_f1"]["mean"].as_f64().unwrap(),
            result["macro_f1"]["std"].as_f64().unwrap()
        );
        assert!(table.contains(&shown), "{shown} should be in\n{table}");
    }
    assert!(table.starts_with("built-in digits: 10000 training and 2000 test images"));
    assert!(!table.contains("The article"), "its figure is MNIST's");
    assert!(table.contains("true_dropout and libtorch: too few runs to tell"), "{table}");
    assert!(table.ends_with("This is a trial: figures mean nothing.\n"), "{table}");

    let figures = |report: &Value| {
        let results = report["results"].as_array().unwrap().iter();
        results.map(|r| (r["macro_f1"].clone(), r["accuracy"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(figures(&run("again.json", "7").0), figures(&first));
    assert_ne!(figures(&run("other.json", "8").0), figures(&first));
}

#[test]
fn built_in_digits_are_neither_trivial_nor_hopeless() {
    let directory = directory();
    let output = mnist(&directory, &["--synthetic", "--json", "x.json"]);
    assert!(output.status.success());
    for result in json(&directory.path().join("x.json"))["results"].as_array().unwrap() {
        let f1 = result["macro_f1"]["mean"].as_f64().unwrap();
        assert!((0.85..=0.99).contains(&f1), "{} scores {f1}", result["layer"]);
    }
}

#[test]
fn as_printed_trains_too() {
    let arguments = ["--synthetic", "--as-printed", "--layers", "dropout", "--epochs", "1"];
    assert!(mnist(&directory(), &arguments).status.success());
}

#[test]
fn one_run_has_no_deviation() {
    let directory = directory();
    let arguments = ["--synthetic", "--layers", "none", "--epochs", "1", "--json", "x.json"];
    assert!(!succeed(&directory, &arguments).contains('±'));
    let report = json(&directory.path().join("x.json"));
    assert_eq!(report["results"][0]["macro_f1"]["std"], Value::Null);
}

#[test]
fn losses_are_figures_too() {
    let directory = directory();
    succeed(&directory, &["--synthetic", "--layers", "none", "--epochs", "1", "--json", "x.json"]);
    let result = &json(&directory.path().join("x.json"))["results"][0];
    for loss in ["training_loss", "test_loss"] {
        let mean = result[loss]["mean"].as_f64().unwrap();
        // A guess has a loss of ln 10.
        assert!((0.01..2.0).contains(&mean), "{loss}: {mean}");
    }
    assert_eq!(result["diverged_runs"], 0);
}

/// However many layers there are, each run is trained with all of them before the next one, so that a machine that is
/// busy for a while slows them all.
#[test]
fn layers_take_turns() {
    let arguments = ["--synthetic", "--train-limit", "300", "--epochs", "1", "--runs", "2"];
    let layers = ["--layers", "libtorch,none", "--json", "x.json"];
    let directory = directory();
    let output = mnist(&directory, &[&arguments[..], &layers].concat());
    let notes = stderr(&output);
    let turns = notes.lines().filter_map(|line| Some(line.split_once(" epoch ")?.0));
    let turns: Vec<_> = turns.map(|turn| turn.split_whitespace().collect::<Vec<_>>()).collect();
    let turn = |layer, run| vec![layer, "run", run];
    let first = [turn("libtorch", "1/2"), turn("none", "1/2")];
    assert_eq!(turns, [first, [turn("libtorch", "2/2"), turn("none", "2/2")]].concat());
    let results = &json(&directory.path().join("x.json"))["results"];
    assert_eq!([&results[0]["layer"], &results[1]["layer"]], ["libtorch", "none"]);
}

/// Diverges in one step, so that the loss before it is still a number; or in several.
#[test]
fn a_training_that_diverges_says_so_everywhere() {
    for batch_size in ["300", "100"] {
        let directory = directory();
        let arguments = ["--layers", "none,libtorch", "--lr", "1e30", "--batch-size", batch_size];
        let more = ["--synthetic", "--train-limit", "300", "--epochs", "1", "--runs", "2"];
        let files = ["--json", "x.json", "--plot", "x.svg"];
        let output = mnist(&directory, &[&arguments[..], &more, &files].concat());
        assert_eq!(output.status.code(), Some(1));
        let what = "diverged: none in 2 of 2 runs, libtorch in 2 of 2 runs";
        let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with(&format!("error: {what}")), "{last}");
        let table = stdout(&output);
        assert!(table.contains("none (diverged)") && table.contains(what), "{table}");
        assert!(!table.contains(" and libtorch: "), "nothing is to be compared: {table}");
        for result in json(&directory.path().join("x.json"))["results"].as_array().unwrap() {
            assert_eq!(result["diverged_runs"], 2);
            assert_eq!(result["test_loss"]["runs"], serde_json::json!([null, null]));
        }
        let svg = fs::read_to_string(directory.path().join("x.svg")).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}

/// The article's figures on the article's data.
#[test]
fn on_mnist_every_layer_reaches_the_articles_f1() {
    let Some(data) = mnist_directory() else { return };
    let data = fs::canonicalize(data).unwrap();
    let directory = directory();
    let arguments = ["--runs", "3", "--json", "x.json", "--data-dir", data.to_str().unwrap()];
    let output = mnist(&directory, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    assert!(table.contains("The article: macro F1 0.90") && !table.contains("mean nothing"));
    assert!(table.contains("true_dropout and libtorch: no difference detected."), "{table}");
    assert!(table.contains("(95 % interval −"), "{table}");
    let report = json(&directory.path().join("x.json"));
    assert_eq!(
        report["dataset"],
        serde_json::json!({"name": "MNIST", "train": 60000, "test": 10000})
    );
    let f1 = |layer: &str| {
        let results = report["results"].as_array().unwrap();
        let result = results.iter().find(|result| result["layer"] == layer).unwrap();
        result["macro_f1"]["mean"].as_f64().unwrap()
    };
    for layer in ["none", "dropout", "true_dropout", "libtorch"] {
        assert!(f1(layer) >= 0.90, "{layer}: {}", f1(layer));
    }
    assert!(f1("drop_connect") >= 0.88, "drop_connect: {}", f1("drop_connect"));
    assert!((f1("true_dropout") - f1("libtorch")).abs() < 0.01);
}
