//! Where the data comes from, and the errors for bad data.

use std::fs;
use std::io::Write;
use std::process::Output;

use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::program::{assert_error, directory, files, mnist, mnist_directory, stderr, stdout};

#[test]
fn without_network_the_default_directory_gives_way_and_a_named_one_does_not() {
    let directory = directory();
    let quick = ["--layers", "none", "--epochs", "1"];
    let output = mnist(&directory, &quick);
    assert!(output.status.success());
    assert!(stderr(&output).contains("training on built-in digits, not on MNIST"));
    assert!(stderr(&output).contains("built-in digits: 10000 training and 2000 test images"));
    assert!(files(directory.path()).is_empty(), "no directory is left behind");

    let output = mnist(&directory, &[&quick[..], &["--data-dir", "data/mnist"]].concat());
    assert!(!output.status.success());
    let error =
        "error: MNIST could not be downloaded from any mirror; --synthetic takes built-in digits";
    assert!(stderr(&output).ends_with(&format!("{error}\n")), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    assert!(files(directory.path()).is_empty(), "no directory is left behind");
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

/// A small valid data set: 20 images of noise to train with, 10 to test with.
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

/// With the names that some archives use.
#[test]
fn names_with_a_dot_are_read_too() {
    let data = small_data_set();
    for name in files(data.path()) {
        let dotted = data.path().join(name.replace("-idx", ".idx"));
        fs::rename(data.path().join(name), dotted).unwrap();
    }
    let output = train_on(&data);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(files(data.path()).len(), 4, "nothing is downloaded");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_data_file() {
    for name in ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"] {
        let data = small_data_set();
        let path = data.path().join(name);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_error(&train_on(&data), &["cannot read ", name, "it is no regular file"]);
    }
}

#[test]
fn without_network_a_part_of_mnist_says_what_is_missing() {
    let Some(mnist_files) = mnist_directory() else { return };
    let data = directory();
    for entry in fs::read_dir(&mnist_files).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("train") || name.starts_with("t10k-images") {
            fs::copy(mnist_files.join(&name), data.path().join(name)).unwrap();
        }
    }
    let output = train_on(&data);
    let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
    assert!(!output.status.success() && last.starts_with("error: "), "{last}");
    for words in
        ["has no t10k-labels-idx1-ubyte (or .gz)", "could not be downloaded", "--synthetic"]
    {
        assert!(last.contains(words), "{words:?} should be in: {last}");
    }
    assert_eq!(files(data.path()).len(), 3);
}
