//! How a tensor lies in memory.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// A dense tensor's size, its strides unless it is contiguous, and its kind.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) size: Vec<i64>,
    pub(crate) strides: Option<Vec<i64>>,
    pub(crate) kind: Kind,
}

impl Layout {
    pub(crate) fn contiguous(size: &[i64], kind: Kind) -> Self {
        Layout { size: size.to_vec(), strides: None, kind }
    }

    /// Of the size, kind and memory format of `x`, without its gaps and overlaps.
    pub(crate) fn like(x: &Tensor) -> Result<Self> {
        let strides = match () {
            () if x.is_contiguous() => None,
            () if is_dense(&x.size(), &x.stride()) => Some(x.stride()),
            () => Some(x.f_empty_like()?.stride()),
        };
        Ok(Layout { size: x.size(), strides, kind: x.kind() })
    }

    /// A tensor of this layout, whose contents are undefined.
    pub(crate) fn empty(&self, device: Device) -> Result<Tensor> {
        let options = (self.kind, device);
        Ok(match &self.strides {
            None => Tensor::f_empty(&self.size, options)?,
            Some(strides) => Tensor::f_empty_strided(&self.size, strides, options)?,
        })
    }

    /// Whether the elements of `x` are numbers of this kind that lie in memory in the same order, without gaps.
    pub(crate) fn is_of(&self, x: &Tensor) -> bool {
        x.kind() == self.kind
            && x.size() == self.size
            // A negated view has a bit set, and its memory has the opposite sign.
            && !x.is_neg()
            && match &self.strides {
                None => x.is_contiguous(),
                Some(strides) => x.stride() == *strides && is_dense(&self.size, strides),
            }
            // libtorch's zeros that are not stored, and tensors without elements, have no memory.
            && !x.data_ptr().is_null()
    }
}

/// Whether the elements fill their memory without gaps or overlaps.
pub(crate) fn is_dense(size: &[i64], strides: &[i64]) -> bool {
    let mut dims: Vec<_> = strides.iter().zip(size).filter(|&(_, &size)| size != 1).collect();
    dims.sort_unstable();
    let mut step = 1;
    size.contains(&0)
        || dims.iter().all(|&(&stride, &size)| {
            let fits = stride == step;
            step *= size;
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_are_not_stored_lie_nowhere() {
        let options = (Kind::Float, Device::Cpu);
        let layout = Layout::contiguous(&[3], Kind::Float);
        assert!(layout.is_of(&Tensor::zeros([3], options)));
        assert!(!layout.is_of(&Tensor::internal_efficientzerotensor([3], options)));
    }
}
