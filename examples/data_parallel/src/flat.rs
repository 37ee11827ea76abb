//! Many tensors as one vector: one all-reduce, one optimizer's formula.

use std::hash::{DefaultHasher, Hasher};

use anyhow::Result;
use tch::Tensor;

/// All elements of the tensors, one tensor after the other.
pub fn flatten(tensors: &[Tensor]) -> Result<Tensor> {
    let vectors: Vec<_> = tensors.iter().map(|it| it.f_reshape([-1])).collect::<Result<_, _>>()?;
    Ok(Tensor::f_cat(&vectors, 0)?)
}

/// Writes the vector's elements back into the tensors.
pub fn unflatten(vector: &Tensor, tensors: &mut [Tensor]) -> Result<()> {
    let sizes: Vec<_> = tensors.iter().map(|tensor| tensor.numel() as i64).collect();
    let parts = vector.f_split_with_sizes(sizes, 0)?;
    tch::no_grad(|| {
        for (tensor, part) in tensors.iter_mut().zip(parts) {
            tensor.f_copy_(&part.f_view_as(tensor)?)?;
        }
        Ok(())
    })
}

/// A number that differs if any bit of the vector does. It is the same on all ranks, as they run the same program,
/// but may change with the version of Rust.
pub fn digest(vector: &Tensor) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for number in Vec::<f32>::try_from(vector)? {
        hasher.write_u32(number.to_bits());
    }
    Ok(hasher.finish())
}
