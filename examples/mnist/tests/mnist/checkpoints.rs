//! Trained models in files.

use std::collections::HashMap;
use std::fs;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, nn};

use crate::program::{assert_error, directory, json, mnist, succeed};

#[test]
fn a_saved_model_scores_what_it_scored() {
    for (model, layer) in [("article", "drop_connect"), ("mlp", "elements"), ("cnn", "channels")] {
        let directory = directory();
        let arguments =
            ["--train-limit", "500", "--layers", layer, "--save", "x", "--json", "x.json"];
        succeed(&directory, &[&["--synthetic", "--model", model], &arguments[..]].concat());
        let report = json(&directory.path().join("x.json"));
        let figure = |name: &str| report["results"][0][name]["mean"].as_f64().unwrap();
        let shown = format!(
            "x: macro F1 {:.4}, accuracy {:.4} on the 2000 test images of built-in digits\n",
            figure("macro_f1"),
            figure("accuracy")
        );
        assert_eq!(succeed(&directory, &["--synthetic", "--model", model, "--load", "x"]), shown);
    }
}

/// A file as `--save` writes it, except for the given differences.
fn forged(model: Option<&str>, dtype: Dtype, bias: usize, without: &str) -> Vec<u8> {
    let zeros = vec![0; 4 * 784 * 512];
    let shapes = [
        ("first.weight", vec![512, 784]),
        ("first.bias", vec![512]),
        ("second.weight", vec![512, 512]),
        ("second.bias", vec![512]),
        ("last.weight", vec![10, 512]),
        ("last.bias", vec![bias]),
    ];
    let size = if dtype == Dtype::F32 { 4 } else { 2 };
    let views = shapes.into_iter().filter(|(name, _)| *name != without).map(|(name, shape)| {
        let bytes = &zeros[..size * shape.iter().product::<usize>()];
        (name, TensorView::new(dtype, shape, bytes).unwrap())
    });
    let metadata = model.map(|model| HashMap::from([("model".to_owned(), model.to_owned())]));
    safetensors::serialize(views, &metadata).unwrap()
}

#[test]
fn a_file_that_cannot_be_loaded_is_one_clear_line() {
    let directory = directory();
    let good = forged(Some("article"), Dtype::F32, 10, "");
    let no_file = "it is not a whole safetensors file";
    let mut overlong = good.clone();
    overlong[7] = 0xFF;
    for (bytes, words) in [
        (vec![], no_file),
        (b"no tensors here".to_vec(), no_file),
        (good[..good.len() - 1].to_vec(), no_file),
        (good[..50].to_vec(), no_file),
        (overlong, no_file),
        (forged(None, Dtype::F32, 10, ""), "it does not say which model it is of"),
        (forged(Some("mlp"), Dtype::F32, 10, ""), "it is of --model mlp, not of --model article"),
        (forged(Some("rnn"), Dtype::F32, 10, ""), "it is of --model rnn, not of --model article"),
        (forged(Some("article"), Dtype::F32, 10, "second.bias"), "it has no second.bias"),
        // tch's own load would broadcast it.
        (forged(Some("article"), Dtype::F32, 1, ""), "last.bias has shape [1], expected [10]"),
        (forged(Some("article"), Dtype::F16, 10, ""), "has kind F16, expected F32"),
    ] {
        fs::write(directory.path().join("x"), bytes).unwrap();
        let output = mnist(&directory, &["--synthetic", "--load", "x"]);
        assert_error(&output, &["cannot load x: ", words]);
    }
    fs::write(directory.path().join("x"), good).unwrap();
    succeed(&directory, &["--synthetic", "--load", "x"]);
    for missing in ["missing", "."] {
        let output = mnist(&directory, &["--synthetic", "--load", missing]);
        assert_error(&output, &[&format!("cannot read {missing}: ")]);
    }
}

/// Other programs can read it too: here `tch` itself.
#[test]
fn a_saved_model_is_an_ordinary_safetensors_file() {
    let directory = directory();
    succeed(
        &directory,
        &["--synthetic", "--train-limit", "300", "--layers", "none", "--save", "x.safetensors"],
    );
    let mut vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let last = nn::linear(&root / "last", 512, 10, Default::default());
    let before = last.ws.copy();
    vs.load(directory.path().join("x.safetensors")).unwrap();
    assert_ne!(last.ws, before);
}
