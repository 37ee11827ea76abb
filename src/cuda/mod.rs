//! Masks and products on an NVIDIA GPU, in one launch: the same ones as on a CPU, bit for bit.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `dropout.cu` | the kernels |
//! | `ptx/` | what `scripts/ptx.py` makes of them, for the driver to compile |
//! | `kernels` | which kernel is for which kind |
//! | `driver` | the driver's functions |
//! | `gpu` | what is kept for each GPU; tensors as a kernel's arrays |
//!
//! Nothing here needs CUDA's toolkit, when building or later. Where the driver is missing or too old, where a kernel
//! does not load, and where it does not write what the CPU writes, there is no mask from here, and that is found out
//! once. A kernel that does not load for want of memory is tried again.

mod driver;
mod gpu;
mod kernels;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use tch::Tensor;

use self::gpu::{Gpu, Inputs};
use crate::error::Result;
use crate::layout::Layout;
use crate::numbers::Numbers;

/// Whether this GPU has a driver for our kernels.
pub(crate) fn is_ready(gpu: usize) -> bool {
    Gpu::get(gpu).is_some()
}

/// A mask with these numbers on this GPU, in the order of memory; `None` if it has no kernel for it.
pub(crate) fn mask(numbers: &Numbers, layout: &Layout, gpu: usize) -> Result<Option<Tensor>> {
    write(numbers, layout, gpu, Inputs::None)
}

/// `x` times the mask in one pass; plus `residual`, if there is one. Both are on this GPU and have this layout. `None`
/// if it has no kernel for it.
pub(crate) fn product(
    numbers: &Numbers,
    layout: &Layout,
    gpu: usize,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let inputs = residual.map_or(Inputs::X(x), |residual| Inputs::XAndResidual(x, residual));
    write(numbers, layout, gpu, inputs)
}

fn write(numbers: &Numbers, layout: &Layout, gpu: usize, inputs: Inputs) -> Result<Option<Tensor>> {
    Gpu::get(gpu).map_or(Ok(None), |gpu| gpu.write(numbers, layout, inputs))
}
