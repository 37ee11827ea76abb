//! The MNIST example as a whole: its command line, its data, its JSON, its errors, its figures.

use std::fs;
use std::io::Write;
use std::process::Output;

use crate::program::{assert_error, directory, json, mnist, mnist_directory, stderr, stdout};
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn bad_arguments_are_one_clear_line_each() {
    let directory = directory();
    for (arguments, words) in [
        (&["--p", "1.5"][..], &["--p", "p must be a probability in [0, 1], got 1.5"][..]),
        (&["--p", "NaN"], &["p must be a probability in [0, 1], got NaN"]),
        (&["--p", "half"], &["--p", "expected a number, got 'half'"]),
        (&["--p=-0.1"], &["p must be a probability in [0, 1], got -0.1"]),
        (&["--p", "-0.1"], &["p must be a probability in [0, 1], got -0.1"]),
        (&["--layers", "dropuot"], &["dropuot", "none,dropout,true_dropout,drop_connect,libtorch"]),
        (&["--layers", "none,none"], &["--layers", "none twice"]),
        (&["--layers", ""], &["unknown layer"]),
        (&["--batch-size", "0"], &["--batch-size", "at least 1, got 0"]),
        (&["--epochs", "0"], &["--epochs", "at least 1, got 0"]),
        (&["--epochs", "two"], &["--epochs", "expected a whole number, got 'two'"]),
        (&["--runs", "0"], &["--runs", "at least 1"]),
        (&["--lr", "0"], &["--lr", "above 0 and at most 3.4e38, got 0"]),
        (&["--lr", "inf"], &["--lr", "above 0 and at most 3.4e38, got inf"]),
        (&["--device", "gpu"], &["--device", "auto, cpu, cuda, cuda:N or mps"]),
        (&["--device", "cuda:x"], &["--device", "unknown device"]),
        (&["--seed", "9223372036854775807"], &["--seed", "too large"]),
        (&["--synthetic", "--data-dir", "x"], &["--synthetic", "--data-dir"]),
        (&["--colour"], &["--colour"]),
        (&["--model", "rnn"], &["--model", "unknown model, expected one of article, mlp, cnn"]),
        (&["--train-limit", "0"], &["--train-limit", "at least 1, got 0"]),
        (&["--train-limit", "10001", "--synthetic"], &["10001 is more than the 10000 training"]),
        (&["--as-printed", "--model", "mlp"], &["--as-printed", "--model mlp"]),
        (
            &["--save", "x"],
            &["--save takes one layer and one run, got 5", "--layers and 1 of --runs"],
        ),
        (
            &["--save", "x", "--layers", "none", "--runs", "2"],
            &["got 1 of --layers and 2 of --runs"],
        ),
        (&["--save", "x", "--layers", "none", "--as-printed"], &["--save", "--as-printed"]),
        (&["--load", "x", "--epochs", "3"], &["--load", "--epochs"]),
        (&["--load", "x", "--p", "0", "--runs", "3"], &["--load", "with: --p <P> --runs <RUNS>"]),
        (&["--json", "x", "--plot", "x"], &["x is named for two outputs"]),
        (&["--plot", "no/such/directory/x.svg", "--synthetic"], &["no/such/directory/x.svg"]),
        (&["--json", "no/such/directory/x.json", "--synthetic"], &["no/such/directory/x.json"]),
        (&["--json", ".", "--synthetic"], &["cannot write .: it is a directory"]),
    ] {
        assert_error(&mnist(&directory, arguments), words);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn cuda_without_cuda_says_which_is_missing() {
    if tch::Cuda::is_available() {
        println!("skipped: there is a GPU");
        return;
    }
    let reason = if tch::utils::has_cudart() { "finds no GPU" } else { "built without CUDA" };
    assert_error(&mnist(&directory(), &["--device", "cuda"]), &[reason]);
    assert_error(&mnist(&directory(), &["--device", "mps"]), &["MPS"]);
}

#[test]
fn help_names_every_option() {
    let output = mnist(&directory(), &["--help"]);
    assert!(output.status.success());
    for option in [
        "device",
        "data-dir",
        "synthetic",
        "layers",
        "p",
        "epochs",
        "batch-size",
        "lr",
        "seed",
        "runs",
        "as-printed",
        "json",
        "train-limit",
        "model",
        "plot",
        "save",
        "load",
    ] {
        assert!(stdout(&output).contains(&format!("--{option}")), "--{option}");
    }
}

/// The same command gives the same figures, and the JSON has what the table shows.
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
    assert!(table.contains("within the noise"));

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
fn without_network_the_default_directory_gives_way_and_a_named_one_does_not() {
    let directory = directory();
    let quick = ["--layers", "none", "--epochs", "1"];
    let output = mnist(&directory, &quick);
    assert!(output.status.success());
    assert!(stderr(&output).contains("training on built-in digits, not on MNIST"));
    assert!(stderr(&output).contains("built-in digits: 10000 training and 2000 test images"));

    let output = mnist(&directory, &[&quick[..], &["--data-dir", "data/mnist"]].concat());
    assert!(!output.status.success());
    assert!(stderr(&output).contains("error: MNIST could not be downloaded from any mirror"));
    assert_eq!(stdout(&output), "");
}

#[test]
fn as_printed_trains_too() {
    let arguments = ["--synthetic", "--as-printed", "--layers", "dropout", "--epochs", "1"];
    assert!(mnist(&directory(), &arguments).status.success());
}

fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut file = (0x0800 + sizes.len() as u32).to_be_bytes().to_vec();
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(body);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small data set that is in order: 20 images of noise to train with, 10 to test with.
fn small_data_set() -> TempDir {
    let directory = tempfile::Builder::new().prefix("small-").tempdir().unwrap();
    for (part, count) in [("train", 20u32), ("t10k", 10)] {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 31 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let path = |name: &str| directory.path().join(format!("{part}-{name}"));
        fs::write(path("images-idx3-ubyte"), idx(&[count, 28, 28], &pixels)).unwrap();
        fs::write(path("labels-idx1-ubyte.gz"), gzip(&idx(&[count], &labels))).unwrap();
    }
    directory
}

fn train_on(data: &TempDir) -> Output {
    let path = data.path().to_str().unwrap();
    mnist(&directory(), &["--layers", "none", "--epochs", "1", "--data-dir", path])
}

#[test]
fn any_idx_data_set_of_that_size_works_plain_or_compressed() {
    let data = small_data_set();
    let output = train_on(&data);
    assert!(output.status.success(), "{}", stderr(&output));
    let name = data.path().file_name().unwrap().to_str().unwrap();
    let heading = format!("{name}: 20 training and 10 test images, on ");
    assert!(stderr(&output).contains(&heading), "{}", stderr(&output));
}

#[test]
fn bad_files_are_one_clear_line_each_with_the_files_name() {
    let images = "train-images-idx3-ubyte";
    let labels = "train-labels-idx1-ubyte.gz";
    let good = vec![0; 20 * 784];
    let mut corrupt = gzip(&idx(&[20], &[1; 20]));
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xFF;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (images, vec![], "the header is cut off"),
        (images, idx(&[20, 28, 28], &good)[..9].to_vec(), "the header is cut off"),
        (images, idx(&[20, 28, 28], &good[1..]), "promises 15680 bytes, but there are only 15679"),
        (images, idx(&[20, 28, 28], &[&good[..], &[0]].concat()), "there is more than the 15680"),
        (images, idx(&[20 * 784], &good), "the magic number is 0x00000801, expected 0x00000803"),
        (images, vec![0xFF; 100], "the magic number is 0xffffffff, expected 0x00000803"),
        (images, idx(&[20, 14, 56], &good), "the images are 14x56, expected 28x28"),
        (images, idx(&[u32::MAX, 28, 28], &good), "[4294967295, 28, 28] bytes, more than 1 GiB"),
        (images, idx(&[1_000_000, 28, 28], &good), "promises 784000000 bytes, but there are only"),
        (images, idx(&[0, 28, 28], &[]), "it has no items"),
        (labels, gzip(&idx(&[20], &[10; 20])), "label 10 of item 0 is above 9"),
        (labels, corrupt, ""),
        (labels, gzip(&idx(&[20], &[1; 20]))[..20].to_vec(), ""),
        (labels, b"no gzip".to_vec(), ""),
    ];
    for (name, bytes, words) in cases {
        let data = small_data_set();
        fs::write(data.path().join(name), bytes).unwrap();
        assert_error(&train_on(&data), &[name, words]);
    }
}

#[test]
fn files_that_do_not_belong_together_are_an_error() {
    let data = small_data_set();
    let labels = gzip(&idx(&[19], &[1; 19]));
    fs::write(data.path().join("train-labels-idx1-ubyte.gz"), labels).unwrap();
    assert_error(&train_on(&data), &["there are 20 images, but 19 labels", "the training set"]);

    let data = small_data_set();
    fs::remove_file(data.path().join("t10k-images-idx3-ubyte")).unwrap();
    assert_error(&train_on(&data), &["has no t10k-images-idx3-ubyte"]);
}

#[test]
fn a_data_directory_that_is_a_file_is_an_error() {
    let directory = directory();
    fs::write(directory.path().join("file"), "").unwrap();
    assert_error(&mnist(&directory, &["--data-dir", "file"]), &["file is not a directory"]);
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
    assert!(stdout(&output).contains("The article: macro F1 0.90"));
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
