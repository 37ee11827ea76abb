//! MNIST from its public mirrors.
//!
//! Nothing is written before all four files are downloaded and checked. Then they are written to a
//! hidden subdirectory and renamed into place, so that an interrupted download is never mistaken for
//! data.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::console::note;

use super::directory::{Files, Found, Known, MNIST, find};
use idx::GZIP;

const MIRRORS: &str = "https://ossci-datasets.s3.amazonaws.com/mnist/ \
                       https://storage.googleapis.com/cvdf-datasets/mnist/";

/// Other mirrors, separated by spaces, to use instead of the public ones.
const MIRRORS_VARIABLE: &str = "MNIST_MIRRORS";

/// The largest file has 9.9 MB.
const MOST_BYTES: u64 = 32 << 20;

/// The prefix of the hidden directory's name.
const PARTIAL: &str = ".partial";

/// Nobody writes twelve megabytes for longer than this.
const LONGEST_WRITE: Duration = Duration::from_secs(3600);

/// Downloads the four files into `directory`, which is created if necessary.
pub fn mnist(directory: &Path) -> Result<Files> {
    let cannot = || format!("cannot write to the data directory {}", directory.display());
    check_writable(directory).with_context(cannot)?;
    let files = MNIST.iter().map(from_any_mirror).collect::<Result<Vec<_>>>()?;
    write(directory, &files).with_context(cannot)?;
    match find(directory)? {
        Found::Files(files) => Ok(files),
        Found::Missing(_) => bail!("somebody empties the data directory {}", directory.display()),
    }
}

/// Fails before the download, not after it, if the directory cannot be written to. If it does not exist yet,
/// its nearest existing parent is checked.
fn check_writable(directory: &Path) -> io::Result<()> {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    tempfile::Builder::new().make_in(there, |name| File::create_new(name)).map(drop)
}

/// Puts MNIST's files into a directory.
fn write(directory: &Path, files: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(directory);
    // Without the name of what could not be made.
    let partial = partial.map_err(|error| error.kind())?;
    let names = MNIST.map(|known| format!("{}.gz", known.name));
    for (name, bytes) in names.iter().zip(files) {
        let mut file = File::create(partial.path().join(name))?;
        file.write_all(bytes)?;
        // Some file systems notice only now that they are full.
        file.sync_all()?;
    }
    names.iter().try_for_each(|name| fs::rename(partial.path().join(name), directory.join(name)))
}

/// Removes what a process left in a directory when it was killed while writing. Newer files may belong to
/// another process, which is writing right now.
pub fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        let is_partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
        if is_partial && age().is_some_and(|age| age > LONGEST_WRITE) {
            // In a directory that can only be read it stays, and is as harmless as before.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Tries one mirror after another; each failure is one line.
fn from_any_mirror(known: &Known) -> Result<Vec<u8>> {
    let mirrors = std::env::var(MIRRORS_VARIABLE).unwrap_or(MIRRORS.to_owned());
    for mirror in mirrors.split_whitespace() {
        let url = format!("{}/{}.gz", mirror.trim_end_matches('/'), known.name);
        match fetch(&url, known) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => note(format_args!("{url}: {error:#}")),
        }
    }
    bail!("MNIST could not be downloaded from any mirror")
}

fn fetch(url: &str, known: &Known) -> Result<Vec<u8>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_global(Some(timeout()))
        .build()
        .into();
    let response = agent.get(url).call().map_err(in_words)?;
    let bar = progress(known, response.body().content_length());
    let body = response.into_body().into_reader().take(MOST_BYTES + 1);
    let mut bytes = Vec::new();
    bar.wrap_read(body).read_to_end(&mut bytes).map_err(|error| in_words(error.into()))?;
    ensure!(bytes.len() as u64 <= MOST_BYTES, "more came than MNIST has");
    check(&bytes, known).context("what came is of no use")?;
    Ok(bytes)
}

/// The file will be named `.gz`, so it must be compressed; with some servers, it arrives decoded.
fn check(bytes: &[u8], known: &Known) -> Result<()> {
    ensure!(bytes.starts_with(&GZIP), "it is not compressed");
    known.check(bytes)
}

/// An error for the user, in words.
fn in_words(error: ureq::Error) -> anyhow::Error {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => {
            anyhow!("it was not there after {} s", timeout().as_secs())
        }
        ureq::Error::Timeout(_) => anyhow!("no answer in time"),
        ureq::Error::Io(error) => error.into(),
        error => error.into(),
    }
}

/// The time limit for one whole file. Tests override it, so as not to wait for a stalled server.
fn timeout() -> Duration {
    let seconds = std::env::var("MNIST_TIMEOUT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}

fn progress(known: &Known, bytes: Option<u64>) -> ProgressBar {
    // Whatever ends the download, the next line has a line of its own.
    let bar = ProgressBar::new(bytes.unwrap_or(0))
        .with_message(known.name)
        .with_finish(ProgressFinish::AndClear);
    if bar.is_hidden() {
        note(format_args!("Downloading {} ...", known.name));
    }
    bar.set_style(
        ProgressStyle::with_template("{msg:24} {wide_bar} {bytes}/{total_bytes} {eta}")
            .expect("a template that indicatif knows"),
    );
    bar
}
