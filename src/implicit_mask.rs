//! A mask that is defined by its random numbers, and need not be stored.

use tch::{Device, Tensor};

use crate::cpu;
use crate::cuda;
use crate::effect::Affine;
use crate::error::Result;
use crate::layout::Layout;
use crate::numbers::Numbers;

/// A mask that is defined by its random numbers, and need not be stored. Its elements are drawn in the order
/// of memory.
#[derive(Clone, Debug)]
pub(crate) struct ImplicitMask {
    numbers: Numbers,
    layout: Layout,
    device: Device,
}

impl ImplicitMask {
    pub(crate) fn new(numbers: Numbers, layout: Layout, device: Device) -> Self {
        ImplicitMask { numbers, layout, device }
    }

    pub(crate) fn size(&self) -> &[i64] {
        &self.layout.size
    }

    /// What is added to the product of a number and this mask.
    pub(crate) fn shift(&self) -> Option<Affine> {
        self.numbers.shift()
    }

    /// The same mask, to which nothing is added: that of the gradient.
    #[cfg(recompute)]
    pub(crate) fn without_shift(&self) -> Self {
        ImplicitMask { numbers: self.numbers.without_shift(), ..self.clone() }
    }

    /// Multiplies a contiguous `x` in place by the part of the mask that begins with this tile. Beyond its last
    /// element the mask goes on, so that whole tiles can be drawn.
    #[cfg(recompute)]
    pub(crate) fn multiply_part(&self, tile: u64, x: &mut Tensor) -> Result<()> {
        let numbers = self.numbers.skip_tiles(tile);
        if self.device == Device::Cpu && cpu::multiply_in_place(&numbers, x) {
            return Ok(());
        }
        let layout = Layout::contiguous(&x.size(), x.kind());
        let part = ImplicitMask { numbers, layout, device: self.device };
        if let Some(product) = part.times(x, None)? {
            x.f_copy_(&product)?;
        } else {
            let _ = x.f_mul_(&part.stored()?)?;
        }
        Ok(())
    }

    /// The mask itself. Where the device has no code of ours, it is drawn on the CPU and copied.
    pub(crate) fn stored(&self) -> Result<Tensor> {
        let ImplicitMask { numbers, layout, device } = self;
        if let Device::Cuda(gpu) = *device
            && let Some(mask) = cuda::mask(numbers, layout, gpu)?
        {
            return Ok(mask);
        }
        let mask = cpu::mask(numbers, layout)?;
        if *device == Device::Cpu { Ok(mask) } else { Ok(mask.f_to_device(*device)?) }
    }

    /// `x` times the mask in one pass, without the mask and outside of libtorch's graph; plus `residual`, if
    /// there is one. `None` for tensors of other kinds, layouts or devices than the mask's, and where the
    /// device has no code of ours.
    pub(crate) fn times(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Option<Tensor>> {
        let ImplicitMask { numbers, layout, device } = self;
        let fits = |x: &Tensor| x.device() == *device && layout.is_of(x);
        if !fits(x) || residual.is_some_and(|residual| !fits(residual)) {
            return Ok(None);
        }
        match *device {
            Device::Cpu => cpu::product(numbers, layout, x, residual),
            Device::Cuda(gpu) => cuda::product(numbers, layout, gpu, x, residual),
            _ => Ok(None),
        }
    }
}
