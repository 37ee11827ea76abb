//! Memory for a large result. Once it is freed, the next result of that size reuses it.
//!
//! libtorch allocates aligned memory with `posix_memalign`. glibc cuts that out of a larger block and frees
//! what is left over at its ends. The graph's small nodes are then allocated there, and the freed middle is a
//! few bytes too short for the next result of the same size. So training would write into fresh pages over
//! and over, which takes longer than the dropout, and its peak memory would double. A block that is aligned
//! by hand has no such ends.
//!
//! The block that was freed last, of up to 32 MiB, is kept for the next result: the caches still hold it, and
//! glibc does not always find it again. Larger blocks go back to the system at once, as in glibc.
#![allow(unsafe_code, reason = "calls C++")]

use tch::{Kind, Tensor};

/// A CPU tensor of this size and these strides (`None`: contiguous), whose contents are undefined, like
/// [`Tensor::f_empty`]'s. `None` if that does as well, or if memory runs out: its error will then say so.
#[cfg(all(recompute, target_os = "linux", target_env = "gnu"))]
pub(super) fn empty(size: &[i64], strides: Option<&[i64]>, kind: Kind) -> Option<Tensor> {
    use std::ptr;

    use tch::Device;
    use torch_sys::C_tensor;

    unsafe extern "C" {
        /// In large.cpp.
        fn tch_dropout_give_memory(
            tensor: *mut C_tensor,
            bytes: usize,
            dims: usize,
            size: *const i64,
            strides: *const i64,
        ) -> bool;
    }

    /// In bytes. Below it, a gap costs little, and one more libtorch operation would matter.
    const LARGE: usize = 1 << 20;

    let bytes = size.iter().try_fold(kind.elt_size_in_bytes(), |bytes, &dim| {
        bytes.checked_mul(usize::try_from(dim).ok()?)
    })?;
    if bytes < LARGE {
        return None;
    }
    let mut tensor = Tensor::f_empty([0], (kind, Device::Cpu)).ok()?;
    let strides = strides.map_or(ptr::null(), |strides| {
        assert_eq!(strides.len(), size.len());
        strides.as_ptr()
    });
    // SAFETY: large.cpp defines it with these parameters. The tensor is one that nobody else knows, and there are `dims` sizes
    // and strides, which are copied.
    // Strides that need more than `bytes` would make libtorch resize the storage.
    let given = unsafe {
        let (dims, size) = (size.len(), size.as_ptr());
        tch_dropout_give_memory(tensor.as_mut_ptr(), bytes, dims, size, strides)
    };
    given.then_some(tensor)
}

/// Other systems' allocators leave no such gaps; and without C++ there is no way to give a tensor memory.
#[cfg(not(all(recompute, target_os = "linux", target_env = "gnu")))]
pub(super) fn empty(_size: &[i64], _strides: Option<&[i64]>, _kind: Kind) -> Option<Tensor> {
    None
}

#[cfg(all(test, recompute, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::thread;

    use tch::{Kind, Tensor};

    use super::empty;

    const MIB: i64 = 1 << 20;

    fn bytes(size: i64) -> Tensor {
        empty(&[size], None, Kind::Uint8).expect("a large tensor")
    }

    #[test]
    fn only_large_tensors_get_it() {
        assert!(empty(&[MIB - 1], None, Kind::Uint8).is_none());
        assert!(empty(&[0, MIB], None, Kind::Float).is_none());
        assert!(empty(&[i64::MAX], None, Kind::Float).is_none());
        assert!(empty(&[1 << 60], None, Kind::Uint8).is_none());
        assert!(empty(&[512, 512], None, Kind::Float).is_some());
    }

    #[test]
    fn a_tensor_has_its_size_strides_kind_and_libtorchs_alignment() {
        let contiguous = empty(&[3, 500, 700], None, Kind::Double).unwrap();
        assert_eq!(contiguous.stride(), [350_000, 700, 1]);
        let transposed = empty(&[1000, 600], Some(&[1, 1000]), Kind::Float).unwrap();
        assert_eq!(transposed.size(), [1000, 600]);
        assert_eq!(transposed.stride(), [1, 1000]);
        for (tensor, kind) in [(&contiguous, Kind::Double), (&transposed, Kind::Float)] {
            assert_eq!(tensor.kind(), kind);
            assert_eq!(tensor.data_ptr().addr() % 64, 0);
            // Writes to all of it.
            let ones = tensor.shallow_clone().fill_(1);
            assert_eq!(ones.sum(Kind::Double).double_value(&[]), tensor.numel() as f64);
        }
    }

    #[test]
    fn a_tensor_can_grow_as_any_other() {
        let mut tensor = bytes(MIB).fill_(7);
        let mut grown = tensor.resize_([3 * MIB]);
        assert_eq!(grown.narrow(0, 0, MIB).ne(7).sum(Kind::Int64).int64_value(&[]), 0);
        drop(grown.fill_(1));
    }

    /// Blocks of many sizes, some of them kept and some not, are made and freed on all threads. If one were
    /// ever in two tensors, a thread would find another's number.
    #[test]
    fn no_block_is_in_two_tensors() {
        thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    let mut held = std::collections::VecDeque::new();
                    for round in 0..300 {
                        let size = MIB + (round * 7919 + thread * 104_729) % (2 * MIB);
                        held.push_back(bytes(size).fill_(thread));
                        if held.len() > 2 {
                            let oldest = held.pop_front().expect("three tensors");
                            assert!(oldest.eq(thread).all().int64_value(&[]) == 1);
                        }
                    }
                });
            }
        });
    }
}
