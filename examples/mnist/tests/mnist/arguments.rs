//! The command line.

use crate::program::{
    assert_error, assert_usage_error, directory, example, files, mnist, stderr, stdout,
};

#[test]
fn a_bad_argument_is_named_with_what_was_expected() {
    let directory = directory();
    for (arguments, words) in [
        (&["--p", "1.5"][..], &["--p", "p must be a probability in [0, 1], got 1.5"][..]),
        (&["--p", "NaN"], &["p must be a probability in [0, 1], got NaN"]),
        (&["--p", "half"], &["--p", "expected a number, got 'half'"]),
        (&["--p=-0.1"], &["p must be a probability in [0, 1], got -0.1"]),
        (&["--p", "-0.1"], &["p must be a probability in [0, 1], got -0.1"]),
        (
            &["--layers", "dropuot"],
            &["dropuot", "none, dropout, true_dropout, drop_connect, libtorch"],
        ),
        (&["--layers", "none,none"], &["--layers", "none twice"]),
        (&["--layers", ""], &["--layers", "none, dropout"]),
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
        (&["--model", "rnn"], &["--model", "'rnn'", "article, mlp, cnn"]),
        (&["--train-limit", "0"], &["--train-limit", "at least 1, got 0"]),
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
        (&["--load", "x", "--p", "0", "--runs", "3"], &["--load", "--p <P>", "--runs <RUNS>"]),
        (&["--json", "x", "--plot", "x"], &["two outputs", "one file, got x and x"]),
        (&["--json", "x", "--plot", "./x"], &["two outputs", "one file, got x and ./x"]),
        (&["--plot", "p.png"], &["--plot", "p.png", "SVG", "ends in .svg"]),
        (&["--seed", "1.5"], &["--seed", "expected a whole number, got '1.5'"]),
        (&["--seed", "9223372036854775808"], &["expected at most 9223372036854775807, got 9223"]),
        (&["--runs", "1e3"], &["--runs", "expected a whole number, got '1e3'"]),
    ] {
        assert_usage_error(&mnist(&directory, arguments), words);
    }
    assert!(files(directory.path()).is_empty(), "nothing is left behind");
}

#[test]
fn what_cannot_be_done_is_one_clear_line() {
    let directory = directory();
    for (arguments, words) in [
        (&["--train-limit", "10001"][..], &["10001 is more than the 10000 training"][..]),
        (
            &["--plot", "no/such/directory/x.svg"],
            &["cannot write no/such/directory/x.svg: No such"],
        ),
        (
            &["--json", "no/such/directory/x.json"],
            &["cannot write no/such/directory/x.json: No such"],
        ),
        (&["--json", "."], &["cannot write .: it is a directory"]),
    ] {
        let output = mnist(&directory, &[arguments, &["--synthetic"]].concat());
        assert_error(&output, words);
        assert!(!stderr(&output).contains(".tmp"), "{}", stderr(&output));
    }
    assert!(files(directory.path()).is_empty(), "nothing is left behind");
}

#[test]
fn cuda_without_cuda_says_which_is_missing() {
    if tch::Cuda::is_available() || tch::utils::has_mps() {
        println!("skipped: there is a GPU");
        return;
    }
    let reason = if tch::utils::has_cudart() { "finds no GPU" } else { "built without CUDA" };
    for (device, reason) in [("cuda", reason), ("mps", "MPS")] {
        assert_error(&mnist(&directory(), &["--device", device]), &[reason]);
        let uncertainty = example("uncertainty").args(["--device", device]).output().unwrap();
        assert_error(&uncertainty, &[reason]);
    }
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
