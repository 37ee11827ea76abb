//! What the figures were measured on, and what was measured.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::Serialize;
use tch::Device;

#[derive(Serialize)]
pub struct Machine {
    device: String,
    /// The processor's name, where the system reports it.
    cpu: Option<String>,
    threads: i32,
    libtorch: Option<String>,
    /// The system's, as `uname -sr` says.
    kernel: Option<String>,
    rustc: Option<String>,
    /// Of this repository, with `-dirty` if files differ from it.
    commit: Option<String>,
    date: Option<String>,
}

impl Machine {
    pub fn new(device: Device) -> Machine {
        Machine {
            device: if device.is_cuda() { gpu() } else { "cpu".to_owned() },
            cpu: cpu(),
            threads: tch::get_num_threads(),
            libtorch: libtorch(),
            kernel: said("uname", &["-sr"]),
            rustc: said("rustc", &["--version"]),
            commit: said(
                "git",
                &["-C", REPOSITORY, "describe", "--always", "--dirty", "--exclude=*"],
            ),
            date: said("date", &["-u", "+%F"]),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.as_deref().unwrap_or("an unknown CPU");
        let libtorch = self.libtorch.as_deref().unwrap_or("of an unknown version");
        write!(f, "on {}: {cpu}, {} threads, libtorch {libtorch}", self.device, self.threads)?;
        let known = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "unknown".to_owned());
        let [kernel, rustc, commit, date] =
            [&self.kernel, &self.rustc, &self.commit, &self.date].map(known);
        write!(f, "\n{kernel}, {rustc}; commit {commit}, {date}")
    }
}

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A program's answer, where there is such a program, and it has one.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Some(name?.1.to_owned())
}

/// The GPU's number and name, which its driver's program knows.
fn gpu() -> String {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"];
    said("nvidia-smi", &query).map_or("cuda:0".to_owned(), |name| format!("cuda:0 ({name})"))
}

/// Read from a file beside the loaded library, as libtorch has no function for its version.
fn libtorch() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let library = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    version_in(Path::new(&library[library.find('/')?..]).parent()?.parent()?)
}

/// PyTorch's zip and scripts/libtorch.sh leave a file with nothing but the version; PyTorch's package has it in Python.
fn version_in(directory: &Path) -> Option<String> {
    if let Ok(version) = fs::read_to_string(directory.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let python = fs::read_to_string(directory.join("version.py")).ok()?;
    let line = python.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim_matches(['\'', '"']).to_owned())
}

/// For this process and its children.
pub fn disable_huge_pages() -> Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: changes how memory is backed from here on, never what is in it.
    let disabled =
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1_usize, 0_usize, 0_usize, 0_usize) } == 0;
    #[cfg(not(target_os = "linux"))]
    let disabled = false;
    ensure!(disabled, "cannot disable huge pages here");
    Ok(())
}
