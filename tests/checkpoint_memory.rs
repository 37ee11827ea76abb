//! What a checkpoint keeps, and that nothing of it is left behind. By the process's resident memory.
#![cfg(all(target_os = "linux", recompute))]

mod common;

use std::process::Command;
use std::{env, fs};

use common::{alone, elements, stderr, stdout};
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{checkpoint, f_checkpoint};

/// The process's memory, whatever device the other tests are on.
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const MIB: i64 = 1 << 20;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

/// Runs a test of this file again, in a process of its own whose allocator returns freed memory to the system at
/// once. glibc does so with large blocks; libtorch for aarch64 has mimalloc, which must be told when it starts.
fn in_its_own_process(name: &str, test: fn()) {
    if env::var("TCH_DROPOUT_ALONE").as_deref() == Ok(name) {
        return test();
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .envs([("TCH_DROPOUT_ALONE", name), ("MIMALLOC_PURGE_DELAY", "0")])
        .output()
        .unwrap();
    let output = stdout(&child);
    assert!(child.status.success() && output.contains("1 passed"), "{output}{}", stderr(&child));
}

/// Four tensors as large as its input, which its gradient needs.
fn segment(x: &Tensor) -> Tensor {
    (0..4).fold(x.shallow_clone(), |x, _| x.sigmoid())
}

/// What a chain of four segments keeps, and the peak with its backward pass, in multiples of the input.
fn kept_and_peak(call: fn(&Tensor) -> Tensor) -> [f64; 2] {
    let size = 40 * MIB;
    let x = Tensor::rand([size / 4], FLOAT).set_requires_grad(true);
    let chain = || (0..4).fold(x.shallow_clone(), |x, _| call(&x)).sum(Kind::Float);
    fs::write("/proc/self/clear_refs", "5").unwrap(); // Sets the peak to what is resident now.
    let before = status("VmRSS:");
    let loss = chain();
    let kept = status("VmRSS:") - before;
    drop(Tensor::run_backward(&[loss], &[&x], false, false));
    let peak = status("VmHWM:") - before;
    [kept, peak].map(|bytes| bytes as f64 / size as f64)
}

#[test]
fn the_graph_keeps_inputs_and_one_segment_at_a_time() {
    in_its_own_process("the_graph_keeps_inputs_and_one_segment_at_a_time", || {
        // All 16 outputs; in the backward pass a gradient, too.
        let [kept, peak] = kept_and_peak(segment);
        assert!((15.9..16.5).contains(&kept), "{kept}");
        assert!((16.9..17.5).contains(&peak), "{peak}");
        // The inputs of three segments, as that of the first is there anyway; and for the last of them its four
        // outputs and a gradient.
        let [kept, peak] = kept_and_peak(|x| checkpoint(segment, x));
        assert!((2.9..3.5).contains(&kept), "{kept}");
        assert!((7.9..8.5).contains(&peak), "{peak}");
    });
}

/// 20,000 times the least that could leak, 16 bytes, would be 320,000; and a seed's state has 5,056.
#[track_caller]
fn assert_no_growth(mut step: impl FnMut()) {
    (0..1_000).for_each(|_| step());
    let before = status("VmRSS:");
    (0..20_000).for_each(|_| step());
    let growth = status("VmRSS:") - before;
    assert!(growth < MIB / 4, "{growth} bytes");
}

#[test]
fn twenty_thousand_checkpoints_leave_nothing_behind() {
    let _alone = alone();
    let x = Tensor::rand([16, 16], FLOAT).set_requires_grad(true);
    let w = Tensor::rand([16, 16], FLOAT).set_requires_grad(true);
    let run = |x: &Tensor| {
        let (w, seeded, unseeded) = (w.shallow_clone(), elements(0.3).with_seed(1), elements(0.3));
        checkpoint(
            move |x| {
                unseeded.forward_t(&seeded.forward_t(x, true).matmul(&w), true).dropout(0.1, true)
            },
            x,
        )
    };
    assert_no_growth(|| drop(run(&x)));
    assert_no_growth(|| run(&run(&x)).sum(Kind::Float).backward());
    assert_no_growth(|| drop(tch::no_grad(|| run(&x))));
    // Inside one another.
    assert_no_growth(|| {
        checkpoint(|x| checkpoint(|x| x.tanh(), x), &x).sum(Kind::Float).backward()
    });
}

#[test]
fn failures_leave_nothing_behind() {
    let _alone = alone();
    let x = Tensor::rand([16, 16], FLOAT).set_requires_grad(true);
    let inner = x.exp();
    let step = || {
        let captured = inner.shallow_clone();
        assert!(f_checkpoint(move |x| Ok(x * &captured), &x).is_err());
        let y = checkpoint(|x| x.square(), &x).sum(Kind::Float);
        assert!(Tensor::f_run_backward(&[y], &[&x], true, true).is_err());
    };
    (0..200).for_each(|_| step());
    let before = status("VmRSS:");
    // Fewer, since libtorch takes a millisecond for the text of an error.
    (0..2_000).for_each(|_| step());
    let growth = status("VmRSS:") - before;
    assert!(growth < MIB / 4, "{growth} bytes");
}
