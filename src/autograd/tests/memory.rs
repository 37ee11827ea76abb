//! What a graph keeps, by the memory that is resident.

use std::env;
use std::fs;
use std::process::Command;

use tch::{Device, Kind, Tensor};

use super::{leaf, scale, scale_and_add};
use crate::autograd::with_backward;
use crate::error::Error;

const MIB: i64 = 1 << 20;

/// Runs a test of this file again, in a process of its own, where no other test allocates.
fn alone(name: &str, test: fn()) {
    if env::var("TCH_DROPOUT_ALONE").as_deref() == Ok(name) {
        return test();
    }
    let name_in_full = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &name_in_full])
        .env("TCH_DROPOUT_ALONE", name)
        .env("MIMALLOC_PURGE_DELAY", "0") // libtorch's allocator on aarch64 returns memory later otherwise.
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.split_whitespace().next().unwrap().parse::<i64>().unwrap()
}

/// 100,000 times the least that could leak, 16 bytes, would be 1.6 million.
#[track_caller]
fn assert_no_growth(times: usize, mut step: impl FnMut()) {
    (0..times / 100).for_each(|_| step());
    let before = resident();
    (0..times).for_each(|_| step());
    let growth = resident() - before;
    assert!(growth < MIB, "{growth} bytes");
}

#[test]
fn a_hundred_thousand_forwards_leave_nothing_behind() {
    alone("a_hundred_thousand_forwards_leave_nothing_behind", || {
        let (x, residual) = (leaf(&[1.0; 16]), leaf(&[2.0; 16]));
        assert_no_growth(100_000, || {
            let y = scale(&x, 2.0).unwrap();
            drop(scale_and_add(&y, 2.0, &residual).unwrap());
        });
        tch::no_grad(|| assert_no_growth(100_000, || drop(scale(&x, 2.0).unwrap())));
    });
}

#[test]
fn a_hundred_thousand_backwards_leave_nothing_behind() {
    alone("a_hundred_thousand_backwards_leave_nothing_behind", || {
        let (x, residual) = (leaf(&[1.0; 16]), leaf(&[2.0; 16]));
        assert_no_growth(100_000, || {
            scale_and_add(&x, 2.0, &residual).unwrap().sum(Kind::Double).backward();
        });
        assert_no_growth(100_000, || {
            let y = scale(&x, 2.0).unwrap().square().sum(Kind::Double);
            drop(Tensor::run_backward(&[y], &[&x], true, true));
        });
    });
}

#[test]
fn failures_leave_nothing_behind() {
    alone("failures_leave_nothing_behind", || {
        let x = leaf(&[1.0; 16]);
        // Fewer, since libtorch takes a millisecond for the text of an error, and so with larger closures.
        let bytes = [7u8; 4096];
        assert_no_growth(1_000, || {
            let y = with_backward([&x], Tensor::new(), move |_, _| panic!("{bytes:?}"));
            assert!(y.is_err());
        });
        assert_no_growth(100_000, || {
            let y = scale(&x, 1.0).unwrap();
            let y = with_backward([&y], x.detach(), |_, _| Err(Error::Layers)).unwrap();
            let y = scale(&y, 1.0).unwrap().sum(Kind::Double);
            assert!(Tensor::f_run_backward(&[y], &[&x], false, false).is_err());
        });
    });
}

#[test]
fn the_graph_keeps_neither_input_nor_output() {
    alone("the_graph_keeps_neither_input_nor_output", || {
        let shape = [64 * MIB / 4];
        let root = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let graph = |shape: [i64; 1]| {
            // Neither of libtorch's operations here keeps its tensors.
            let x = root.expand(shape, false) + Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            scale(&x, 2.0).unwrap().sum(Kind::Float)
        };
        drop(graph([1]));
        let before = resident();
        let sum = graph(shape);
        let kept = resident() - before;
        assert!(kept < 8 * MIB, "{} MiB", kept / MIB);
        sum.backward();
        assert_eq!(root.grad().double_value(&[0]), 2.0 * shape[0] as f64);
    });
}
