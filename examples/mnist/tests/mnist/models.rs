//! The MNIST example's models: each trains with each layer, and the seed determines each figure.

use crate::program::{directory, json, succeed};
use serde_json::Value;

const LAYERS: &str = "none,dropout,true_dropout,drop_connect,libtorch,elements,channels";

/// A short training with every layer.
fn train(model: &str, epochs: &str, more: &[&str]) -> Value {
    let directory = directory();
    let arguments = ["--synthetic", "--device", "cpu", "--train-limit", "1000"];
    let which = ["--model", model, "--epochs", epochs, "--layers", LAYERS, "--json", "x.json"];
    succeed(&directory, &[&arguments[..], &which, more].concat());
    json(&directory.path().join("x.json"))
}

fn figure<'a>(report: &'a Value, layer: &str) -> &'a Value {
    let results = report["results"].as_array().unwrap();
    &results.iter().find(|result| result["layer"] == layer).unwrap()["macro_f1"]
}

fn learns(model: &str) {
    let report = train(model, "3", &[]);
    assert_eq!(report["config"]["model"], model);
    assert_eq!(report["config"]["train_limit"], 1000);
    assert_eq!(report["dataset"]["train"], 1000);
    assert_eq!(report["dataset"]["test"], 2000);
    for layer in LAYERS.split(',') {
        let f1 = figure(&report, layer)["mean"].as_f64().unwrap();
        // A guess scores 0.1.
        assert!((0.5..0.999).contains(&f1), "{model} with {layer} scores {f1}");
    }
    // `[N, 512]` has nothing behind its channels; feature maps have.
    let same = figure(&report, "channels") == figure(&report, "elements");
    assert_eq!(same, model != "cnn", "channels are elements");
    assert_ne!(figure(&report, "channels"), figure(&report, "true_dropout"));
}

#[test]
fn the_article_learns_with_every_layer() {
    learns("article");
}

#[test]
fn the_mlp_learns_with_every_layer() {
    learns("mlp");
}

#[test]
fn the_cnn_learns_with_every_layer() {
    learns("cnn");
}

/// The whole report is the same, except for the time it took. Drawing a plot, which evaluates the test set
/// after each epoch, changes nothing either.
#[test]
fn a_seed_decides_every_figure_and_a_plot_changes_none() {
    let figures = |model: &str, more: &[&str]| {
        let mut report = train(model, "1", more);
        for result in report["results"].as_array_mut().unwrap() {
            let result = result.as_object_mut().unwrap();
            result.remove("seconds_per_epoch").expect("it takes time");
            result.remove("macro_f1_per_epoch");
        }
        report
    };
    for model in ["article", "mlp", "cnn"] {
        let first = figures(model, &["--seed", "7"]);
        assert_eq!(figures(model, &["--seed", "7"]), first);
        assert_eq!(figures(model, &["--seed", "7", "--plot", "x.svg"]), first);
        assert_ne!(figures(model, &["--seed", "8"])["results"], first["results"]);
    }
}
