//! Processes that end in the middle of a download.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use super::*;

/// Starts the example, sends it a signal some time after this line, and returns the signal that ended
/// it, if one did.
fn interrupt(
    directory: &Path,
    mirror: &str,
    line: &str,
    delay: Duration,
    signal: &str,
) -> Option<i32> {
    let mut command = brief_example(&[mirror.to_owned()]);
    command.arg("--data-dir").arg(directory).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    if lines.any(|it| it.contains(line)) {
        sleep(delay);
        let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
    child.wait().unwrap().signal()
}

/// Uses SIGTERM, which ends a process just as Ctrl-C's SIGINT does. A shell makes its background jobs,
/// which may include these tests, ignore SIGINT.
#[test]
fn ctrl_c_in_a_download_leaves_nothing_behind() {
    let directory = empty_directory();
    let delay = Duration::from_millis(300);
    let line = "Downloading train-images";
    let ended_by = interrupt(directory.path(), &serve(slow()), line, delay, "TERM");
    assert_eq!(ended_by, Some(libc::SIGTERM));
    assert!(files(directory.path()).is_empty());

    let Some(mnist) = mnist_directory() else { return };
    let output = download(directory.path(), &[serve(good(&mnist))]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_is_mnist(directory.path(), &mnist);
}

/// After the last file's line, all files are checked, written and renamed, which takes some milliseconds.
#[test]
fn a_process_killed_while_it_writes_leaves_no_bad_file_and_the_next_one_completes() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let mirror = serve(good(&mnist));
    for milliseconds in [0, 2, 5, 10, 20] {
        let delay = Duration::from_millis(milliseconds);
        interrupt(directory.path(), &mirror, "Downloading t10k-labels", delay, "KILL");
        println!("after {delay:?}: {:?}", files(directory.path()));
        for name in files(directory.path()).iter().filter(|name| !name.starts_with(".partial")) {
            let is_same = fs::read(directory.path().join(name)).unwrap()
                == fs::read(mnist.join(name)).unwrap();
            assert!(is_same, "{name} is another file");
        }
    }
    let output = download(directory.path(), &[mirror]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(FOUR_FILES.iter().all(|&name| files(directory.path()).contains(&name.to_owned())));
}

#[test]
fn what_a_killed_process_left_is_removed_later_but_not_what_another_is_just_writing() {
    let directory = empty_directory();
    let leave = |name: &str, minutes: u64| {
        let partial = directory.path().join(name);
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join(FOUR_FILES[0]), "half of it").unwrap();
        let time = SystemTime::now() - Duration::from_secs(60 * minutes);
        File::open(partial).unwrap().set_modified(time).unwrap();
    };
    leave(".partialOld", 61);
    leave(".partialNew", 59);
    leave("other", 61);
    download(directory.path(), &[serve(status(404))]);
    assert_eq!(files(directory.path()), [".partialNew", "other"]);
}
