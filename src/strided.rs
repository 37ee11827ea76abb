//! Which tensors have strides: those that libtorch calls strided. tch does not say.

use tch::Tensor;

use crate::error::{Error, Result};

/// Refuses sparse tensors, those of oneDNN, and nested ones.
pub(crate) fn check_strided(x: &Tensor) -> Result<()> {
    match x.f_sparse_dim() {
        // A sparse tensor need not have a sparse dimension.
        Ok(0) if !x.is_sparse() && !x.is_mkldnn() => Ok(()),
        _ => Err(Error::Layout),
    }
}

/// Refuses nested tensors alone: for what libtorch does with sparse ones, too. A nested tensor has no size, and tch
/// panics at the question.
pub(crate) fn check_not_nested(x: &Tensor) -> Result<()> {
    match x.f_sparse_dim() {
        Err(_) if !x.is_mkldnn() => Err(Error::Layout),
        _ => Ok(()),
    }
}
