//! Child processes, in which memory is measured, or which keep a core busy.

use std::env;
use std::fs;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use tch::Device;

use crate::gpu;

/// The work of a process that keeps a core busy.
pub const SPIN: &str = "spin";

pub fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Two times in seconds, and the peak of memory in bytes, measured in a new process.
pub fn measure(work: &str, size: i64, device: Device) -> Result<[f64; 3]> {
    measure_in(this_program()?, work, size, device)
}

/// The figures of some work in a new process of this bench, which `program` starts.
pub fn measure_in<const N: usize>(
    mut program: Command,
    work: &str,
    size: i64,
    device: Device,
) -> Result<[f64; N]> {
    let device = if device.is_cuda() { "cuda" } else { "cpu" };
    let arguments = ["--child", work, "--size", &size.to_string(), "--device", device];
    let output = program.args(arguments).output()?;
    ensure!(output.status.success(), "{work}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    figures.try_into().ok().with_context(|| format!("{work} printed '{text}'"))
}

/// The most memory that something takes on the device of a new process: resident, or of a GPU; NaN where the system
/// doesn't report it.
pub fn peak_memory(device: Device, run: impl FnOnce() -> Result<()>) -> Result<f64> {
    if !device.is_cuda() {
        run()?;
        return Ok(peak_of_resident());
    }
    // libtorch's allocator keeps what it has once had from the driver, which knows the sum.
    let before = gpu::memory_in_use()?;
    run()?;
    Ok(gpu::memory_in_use()? - before)
}

/// This process's peak of resident memory so far; NaN where the system doesn't report it.
pub fn peak_of_resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0)
}

/// Processes that each keep a core busy until this is dropped.
pub struct Busy(Vec<Child>);

impl Busy {
    pub fn new(processes: u32) -> Result<Busy> {
        let spin = |_| Ok(this_program()?.args(["--child", SPIN]).spawn()?);
        (0..processes).map(spin).collect::<Result<_>>().map(Busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn this_program() -> Result<Command> {
    Ok(Command::new(env::current_exe()?))
}
