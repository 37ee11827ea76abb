//! A setting has autocast as it was, for each kind of device.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use torch_sys::at_autocast_set_enabled;

use crate::autograd::setting::{Autocast, Setting};

/// What a product on the CPU is computed in.
fn kind() -> Kind {
    let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
    x.matmul(&x).kind()
}

/// The setting of a thread that has autocast on for the CPU alone.
fn on_the_cpu() -> Setting {
    let _on = Autocast { enabled: [true, false], ..Autocast::now() }.enter();
    Setting::now(&[]).unwrap()
}

#[test]
fn it_is_the_cpus_that_is_remembered() {
    assert_eq!(kind(), Kind::Float);
    assert_eq!(on_the_cpu().run(kind).unwrap(), Kind::BFloat16);
    assert_eq!(kind(), Kind::Float);
    let off = Setting::now(&[]).unwrap();
    let _on = Autocast { enabled: [true, false], ..Autocast::now() }.enter();
    assert_eq!(off.run(kind).unwrap(), Kind::Float);
    assert_eq!(kind(), Kind::BFloat16);
}

/// What `tch::autocast` calls, but only where there is a GPU.
fn tchs<T>(run: impl FnOnce() -> T) -> T {
    // SAFETY: torch-sys defines it as setting a flag of this thread.
    unsafe { at_autocast_set_enabled(1) };
    let result = run();
    // SAFETY: torch-sys defines it as setting a flag of this thread.
    unsafe { at_autocast_set_enabled(0) };
    result
}

#[test]
fn it_is_tchs_that_is_remembered() {
    let now = || Autocast::now().enabled;
    let setting = tchs(|| Setting::now(&[]).unwrap());
    assert_eq!(now(), [false, false]);
    assert_eq!(setting.run(now).unwrap(), [false, true]);
    assert_eq!(now(), [false, false]);
    let off = Setting::now(&[]).unwrap();
    assert_eq!(tchs(|| (off.run(now).unwrap(), now())), ([false; 2], [false, true]));
}

#[test]
fn it_is_set_back_after_a_panic() {
    let (setting, before) = (on_the_cpu(), Autocast::now());
    let panics = || setting.run(|| panic!("in a segment"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(Autocast::now(), before);
}

/// libtorch keeps the copies of weights in the other kind until the outermost autocast ends.
#[test]
fn a_weight_that_changes_between_two_runs_is_seen() {
    let setting = on_the_cpu();
    let x = Tensor::ones([1, 1], (Kind::Float, Device::Cpu));
    let mut weight = x.copy().set_requires_grad(true);
    let mut run = |value| {
        let _ = tch::no_grad(|| weight.fill_(value));
        setting.run(|| x.matmul(&weight).double_value(&[0, 0])).unwrap()
    };
    assert_eq!((run(2.0), run(3.0)), (2.0, 3.0));
}
