//! In training, attention keeps no weights.
#![cfg(all(recompute, target_os = "linux"))]

mod common;

use std::fs;

use common::{float, seeded};
use tch::{Device, Kind, Tensor};
use tch_dropout::Attention;

/// The weights alone would take 256 MB.
#[test]
fn a_training_step_takes_less_memory_than_the_weights() {
    let _generator = seeded();
    if common::device() != Device::Cpu {
        return;
    }
    let x = Tensor::randn([1, 4, 4000, 16], float()).set_requires_grad(true);
    let layer = Attention::new(0.1).unwrap();
    let step = |x: &Tensor| {
        let y = layer.forward(x, x, x, None, true);
        Tensor::run_backward(&[y.square().sum(Kind::Float)], &[x], false, false)
    };
    step(&x.narrow(2, 0, 100));
    fs::write("/proc/self/clear_refs", "5").unwrap(); // Sets the peak to what is resident now.
    let before = peak_memory();
    step(&x);
    let taken = peak_memory() - before;
    assert!(taken < 64 << 20, "{taken} bytes");
}

fn peak_memory() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
