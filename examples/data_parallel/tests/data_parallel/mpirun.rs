//! Starts this program's tests, or the example, on several ranks.

use std::any::type_name;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_parallel::args::Args;
use data_parallel::ranks::Ranks;
use tempfile::tempdir;

/// The numbers of ranks that are tested.
pub const SIZES: [usize; 3] = [1, 2, 4];

/// Tells a test that it is one of the ranks, and in which directory to leave a file once it has passed.
const ON_RANKS: &str = "DATA_PARALLEL_ON_RANKS";

/// A hanging run fails after this time.
const SECONDS: &str = "300";

/// `mpirun` on this machine, which may have fewer cores, be a container, or know its user as root; nothing
/// where there is none.
pub fn mpirun(ranks: usize) -> Option<Command> {
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("skipped: there is no mpirun");
        return None;
    }
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--oversubscribe", "--allow-run-as-root", "--timeout", SECONDS]);
    mpirun.args(["--mca", "btl_vader_single_copy_mechanism", "none", "-n", &ranks.to_string()]);
    Some(mpirun)
}

/// Runs a test on ranks, once for each number of them. A rank is a process of this program, told to run the
/// test that calls this.
pub fn on_ranks<F: Fn(&Ranks)>(sizes: &[usize], test: F) {
    if let Some(passed) = std::env::var_os(ON_RANKS) {
        let ranks = Ranks::join();
        test(&ranks);
        File::create(Path::new(&passed).join(ranks.rank().to_string())).unwrap();
        return;
    }
    // The closure's type has the test's path in its name.
    let (_, path) = type_name::<F>().split_once("::").expect("a crate and a path");
    let test = path.strip_suffix("::{{closure}}").expect("a closure in the test's function");
    for &ranks in sizes {
        let Some(mut mpirun) = mpirun(ranks) else { return };
        // Not their output, as mpirun may mix the ranks' lines in the middle.
        let passed = tempdir().unwrap();
        mpirun.env(ON_RANKS, passed.path());
        mpirun.arg(std::env::current_exe().expect("a test knows its own path"));
        let output = one_at_a_time(mpirun.args([test, "--exact", "--nocapture"]));
        assert!(output.status.success(), "{ranks} ranks: {}{}", stdout(&output), stderr(&output));
        let passed = passed.path().read_dir().unwrap().count();
        assert_eq!(passed, ranks, "{test}: {}", stdout(&output));
    }
}

/// The example on so many ranks, with the built-in digits.
pub fn example(ranks: usize, arguments: &[&str]) -> Option<Command> {
    let mut mpirun = mpirun(ranks)?;
    mpirun.args([env!("CARGO_BIN_EXE_data_parallel"), "--synthetic"]).args(arguments);
    Some(mpirun)
}

/// The example's standard output, once it has succeeded.
#[track_caller]
pub fn succeed(ranks: usize, arguments: &[&str]) -> Option<String> {
    let output = one_at_a_time(&mut example(ranks, arguments)?);
    assert!(output.status.success(), "{arguments:?} on {ranks} ranks: {}", stderr(&output));
    Some(stdout(&output))
}

pub fn one_at_a_time(command: &mut Command) -> Output {
    let _cores = cores();
    command.output().unwrap()
}

/// The machine's cores, for one run at a time: each uses them all.
pub fn cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The example's arguments, read from a command line.
pub fn args(arguments: &[&str]) -> Args {
    let program = ["data_parallel", "--synthetic"];
    clap::Parser::parse_from(program.iter().chain(arguments))
}

/// The option for a checkpoint in a directory.
pub fn in_directory(directory: &Path) -> [&str; 2] {
    ["--checkpoint", directory.to_str().expect("a name in UTF-8")]
}
