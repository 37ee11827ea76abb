//! In training, DropConnect with a mask for each sample keeps no mask and no masked weight.
#![cfg(all(recompute, target_os = "linux"))]

mod common;

use common::{float, peak_memory_of, seeded};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{DropConnectConfig, drop_connect};

/// The masked weights alone would take 256 MB.
#[test]
fn a_training_step_takes_less_memory_than_a_weight_for_each_sample() {
    let _generator = seeded();
    if common::device() != Device::Cpu {
        return;
    }
    let vs = nn::VarStore::new(Device::Cpu);
    let config = DropConnectConfig { per_sample: true, ..Default::default() };
    let layer = drop_connect(vs.root(), 500, 500, config).unwrap();
    let x = Tensor::randn([256, 500], float()).set_requires_grad(true);
    let step = |x: &Tensor| layer.forward_t(x, true).square().sum(Kind::Float).backward();
    step(&x.narrow(0, 0, 2));
    let taken = peak_memory_of(|| step(&x));
    assert!(taken < 64 << 20, "{taken} bytes");
}
