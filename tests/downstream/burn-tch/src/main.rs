//! This library in one build with burn-tch: a Burn tensor goes through dropout and back.

// burn-tch says so of itself since 0.22.
#![allow(deprecated)]

use burn_tch::TchTensor;
use tch::{Device, Kind, Tensor};
use tch_dropout::dropout;

fn main() {
    tch::manual_seed(0);
    let x = TchTensor::new(Tensor::ones([1000, 1000], (Kind::Float, Device::Cpu)));
    let y = TchTensor::new(dropout(&x.tensor, 0.2, true));

    let kept = y.tensor.count_nonzero(None).double_value(&[]) / 1e6;
    let mean = y.tensor.mean(Kind::Double).double_value(&[]);
    println!("kept {kept:.4} of the elements, the mean is {mean:.4}");
    // Six standard errors.
    assert!((kept - 0.8).abs() < 6.0 * (0.8f64 * 0.2 / 1e6).sqrt());
    assert!((mean - kept / 0.8).abs() < 1e-3);
}
