//! Keeps libtorch's CUDA library in any program that uses this crate.
//!
//! libtorch finds its CUDA part once the process has loaded it, not through symbols. So nothing refers to
//! `libtorch_cuda.so`, the linker drops it, and [`tch::Cuda::is_available`] is false. One reference keeps it.
//! Link arguments would too, but cargo does not pass on those of a dependency.

#![allow(unsafe_code, reason = "declares a symbol of libtorch's")]

use std::ffi::c_int;

unsafe extern "C" {
    /// `int at::cuda::warp_size()`, which libtorch 2.4 to 2.13 export. Never called.
    #[link_name = "_ZN2at4cuda9warp_sizeEv"]
    fn warp_size() -> c_int;
}

// `used`, since no code reads it: it is there for the linker.
#[used]
static KEEP: unsafe extern "C" fn() -> c_int = warp_size;
