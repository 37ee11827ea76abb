//! Tensors as numbers: on the CPU, as not every device has numbers of 64 bits.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

pub fn double(tensor: &Tensor) -> Tensor {
    tensor.to_device(Device::Cpu).to_kind(Kind::Double)
}

/// All numbers, in the tensor's order.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(double(tensor).contiguous().flatten(0, -1))?)
}
