//! A run that ends early goes on from its checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tch::Tensor;
use tempfile::{TempDir, tempdir};

use crate::mpirun::{SIZES, cores, example, in_directory, one_at_a_time, stderr, succeed};

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("checkpoint.safetensors")
}

/// The weights, Adam's state and the streams' steps at the end of a run.
fn end(directory: &TempDir) -> Vec<u8> {
    fs::read(file(directory)).unwrap()
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}"))
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_child).collect()
}

/// Starts a run, and kills `mpirun` and all ranks once there is a checkpoint.
fn kill_in_the_middle(mut run: Command, checkpoint: &Path) {
    let _cores = cores();
    let mut mpirun = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !checkpoint.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint appears");
        assert_eq!(mpirun.try_wait().unwrap(), None, "it ended without a checkpoint");
        sleep(Duration::from_millis(5));
    }
    let processes = [children(mpirun.id()), vec![mpirun.id()]].concat();
    assert!(processes.len() > 1, "mpirun should have started ranks");
    let pids = processes.iter().map(u32::to_string);
    assert!(Command::new("kill").arg("-KILL").args(pids).status().unwrap().success());
    assert!(!mpirun.wait().unwrap().success(), "it was done before it was killed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_killed_and_resumed_ends_in_the_bits_of_an_undisturbed_one() {
    const STEPS: i64 = 314;
    for ranks in SIZES {
        let [undisturbed, killed] = [(); 2].map(|()| tempdir().unwrap());
        let options = ["--epochs", "2", "--checkpoint-every", "40"];
        let arguments = |directory| [&options, &in_directory(directory)[..]].concat();
        let Some(_) = succeed(ranks, &arguments(undisturbed.path())) else { return };

        let run = example(ranks, &arguments(killed.path())).unwrap();
        kill_in_the_middle(run, &file(&killed));
        let mut resumed = example(ranks, &arguments(killed.path())).unwrap();
        let text = stderr(&one_at_a_time(resumed.arg("--resume")));
        let (_, rest) = text.split_once("Resumed after step ").expect(&text);
        let (step, _) = rest.split_once(" of 314.").expect(&text);
        let step: i64 = step.parse().unwrap();
        assert!(step % 40 == 0 && (40..STEPS).contains(&step), "{text}");

        assert!(end(&undisturbed) == end(&killed), "{ranks} ranks, from step {step}: other bits");
    }
}

/// Of an epoch's four batches, the last has one row. Only the last rank draws masks for it.
#[test]
fn each_rank_goes_on_at_its_own_steps() {
    let [undisturbed, resumed] = [(); 2].map(|()| tempdir().unwrap());
    let train = |directory: &TempDir, arguments: &[&str]| {
        let arguments = [arguments, &in_directory(directory.path())].concat();
        succeed(4, &[&arguments, &["--batch-size", "3333"][..]].concat())
    };
    let Some(_) = train(&undisturbed, &["--epochs", "2"]) else { return };
    train(&resumed, &["--epochs", "1"]);
    let tensors = Tensor::read_safetensors(file(&resumed)).unwrap();
    let (_, streams) = tensors.into_iter().find(|(name, _)| name == "streams").unwrap();
    let steps: Vec<Vec<i64>> = streams.try_into().unwrap();
    assert_eq!(steps, [[3, 3], [3, 3], [3, 3], [4, 4]]);
    train(&resumed, &["--epochs", "2", "--resume"]);
    assert!(end(&undisturbed) == end(&resumed), "other bits");
    // Nothing is left to train.
    let text = train(&resumed, &["--epochs", "2", "--resume"]).unwrap();
    assert!(text.contains('–'), "{text}");
    assert!(end(&undisturbed) == end(&resumed), "other bits");
}

/// Asserts that a run fails, and says why.
#[track_caller]
fn assert_refused(ranks: usize, directory: &TempDir, arguments: &[&str], words: &[&str]) {
    let arguments = [arguments, &in_directory(directory.path())].concat();
    let output = one_at_a_time(&mut example(ranks, &arguments).unwrap());
    let text = stderr(&output);
    assert!(!output.status.success(), "{arguments:?} should be refused: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} should be in: {text}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_neither_loaded_nor_overwritten() {
    let directory = tempdir().unwrap();
    let none = ["error on rank 0: cannot resume from ", "No such file"];
    if example(1, &[]).is_none() {
        return;
    }
    assert_refused(2, &directory, &["--resume"], &none);
    let arguments = ["--epochs", "1", "--batch-size", "5000"];
    succeed(2, &[&arguments, &in_directory(directory.path())[..]].concat());
    let before = end(&directory);

    let other = ["cannot resume from ", "it is of the run {", "\"ranks\":2", "and this one is {"];
    assert_refused(1, &directory, &[&arguments[..], &["--resume"]].concat(), &other);
    let seed = ["--resume", "--seed", "1"];
    assert_refused(2, &directory, &[&arguments[..], &seed].concat(), &other);
    assert_refused(2, &directory, &arguments, &["is there: --resume goes on from it"]);
    assert!(before == end(&directory), "it was overwritten");

    fs::write(file(&directory), &before[..before.len() - 1]).unwrap();
    let damaged = ["cannot resume from ", "it is not a whole safetensors file"];
    assert_refused(2, &directory, &[&arguments[..], &["--resume"]].concat(), &damaged);
}
