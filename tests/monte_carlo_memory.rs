//! Monte Carlo dropout's memory does not grow with the passes. Alone in its process, whose peak it reads.
#![cfg(target_os = "linux")]

use std::fs;

use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{MonteCarlo, NoiseShape, TrueDropout};

const MIB: i64 = 1 << 20;
/// Whose memory the process's is.
const HERE: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

#[test]
fn ten_times_the_passes_take_no_more_memory() {
    let layer = TrueDropout::new(0.5).unwrap().noise_shape(NoiseShape::Elements);
    let x = Tensor::rand([2048, 64], HERE); // Half a MiB of logits a pass.
    let weight = Tensor::randn([64, 64], HERE).set_requires_grad(true);
    let peak_of = |passes| {
        fs::write("/proc/self/clear_refs", "5").unwrap(); // Sets the peak to what is resident now.
        let before = status("VmRSS:");
        let run = MonteCarlo::new(passes).unwrap();
        let model = |x: &Tensor, train| layer.forward_t(x, train).matmul(&weight);
        assert_eq!(run.predict(model, &x).unwrap().mean.size(), [2048, 64]);
        status("VmHWM:") - before
    };
    peak_of(20); // What is made once is not counted.
    let (few, many) = (peak_of(20), peak_of(200));
    // Kept logits would be 90 MiB more.
    assert!(many - few < 30 * MIB, "{} MiB, then {}", few / MIB, many / MIB);
}
