//! MNIST from its public mirrors.
//!
//! All four files are downloaded and checked in a hidden directory beside their place, and only then
//! renamed into it: what is interrupted is never mistaken for data.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use super::directory::{find, Files, Found, Known, MNIST};

const MIRRORS: &str = "https://ossci-datasets.s3.amazonaws.com/mnist/ \
                       https://storage.googleapis.com/cvdf-datasets/mnist/";

/// Other mirrors, separated by spaces, in place of the public ones.
const MIRRORS_VARIABLE: &str = "MNIST_MIRRORS";

/// The largest file has 9.9 MB.
const MOST_BYTES: u64 = 32 << 20;

/// Downloads the four files into `directory`, which is made if need be.
pub fn mnist(directory: &Path) -> Result<Files> {
    let cannot = || format!("cannot write to the data directory {}", directory.display());
    fs::create_dir_all(directory).with_context(cannot)?;
    let partial =
        tempfile::Builder::new().prefix(".partial").tempdir_in(directory).with_context(cannot)?;
    for known in &MNIST {
        from_any_mirror(known, &partial)?;
    }
    for known in &MNIST {
        let name = format!("{}.gz", known.name);
        fs::rename(partial.path().join(&name), directory.join(&name)).with_context(cannot)?;
    }
    match find(directory)? {
        Found::Files(files) => Ok(files),
        Found::Nothing => unreachable!("all four files have just been put there"),
    }
}

/// Tries one mirror after the other; each failure is one line.
fn from_any_mirror(known: &Known, partial: &TempDir) -> Result<()> {
    let mirrors = std::env::var(MIRRORS_VARIABLE).unwrap_or(MIRRORS.to_owned());
    for mirror in mirrors.split_whitespace() {
        let url = format!("{}/{}.gz", mirror.trim_end_matches('/'), known.name);
        match fetch(&url, known, partial) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("{url}: {error:#}"),
        }
    }
    bail!("MNIST could not be downloaded from any mirror")
}

fn fetch(url: &str, known: &Known, partial: &TempDir) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_recv_body(Some(timeout()))
        .build()
        .into();
    let response = agent.get(url).call()?;
    let bar = progress(known, response.body().content_length());
    let body = response.into_body().into_reader().take(MOST_BYTES);
    let path = partial.path().join(format!("{}.gz", known.name));
    io::copy(&mut bar.wrap_read(body), &mut File::create(&path)?)?;
    bar.finish();
    known.check(&path).context("what came is of no use")
}

/// For the whole of one file. Overridden by tests, which don't want to wait for a stalled server.
fn timeout() -> Duration {
    let seconds = std::env::var("MNIST_TIMEOUT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}

fn progress(known: &Known, bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::new(bytes.unwrap_or(0)).with_message(known.name);
    if bar.is_hidden() {
        eprintln!("Downloading {} ...", known.name);
    }
    bar.set_style(
        ProgressStyle::with_template("{msg:24} {wide_bar} {bytes}/{total_bytes} {eta}")
            .expect("a template that indicatif knows"),
    );
    bar
}
