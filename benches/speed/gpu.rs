//! What a GPU's driver knows: how much of its memory is in use. tch has no call for that.

use std::ffi::CStr;
use std::mem::transmute;

use anyhow::{Result, ensure};
use tch::{Cuda, Device, Kind, Tensor};

/// `CUresult cuMemGetInfo(size_t *free, size_t *total)`, of this thread's current device.
type MemGetInfo = unsafe extern "C" fn(free: *mut usize, total: *mut usize) -> i32;

/// Bytes of the first GPU that are not free, whichever process has them: measure on a GPU that nobody else uses.
#[cfg(unix)]
pub fn memory_in_use() -> Result<f64> {
    // Has libtorch make its device current on this thread, with everything that it needs there.
    drop(Tensor::ones([1], (Kind::Float, Device::Cuda(0))) + 1);
    Cuda::synchronize(0);
    let (library, function): (&CStr, &CStr) = (c"libcuda.so.1", c"cuMemGetInfo_v2");
    // SAFETY: the driver's library, which libtorch has loaded.
    let library = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
    ensure!(!library.is_null(), "there is no libcuda.so.1");
    // SAFETY: a library that is open, and a text that ends in 0.
    let address = unsafe { libc::dlsym(library, function.as_ptr()) };
    ensure!(!address.is_null(), "libcuda.so.1 has no cuMemGetInfo_v2");
    // SAFETY: the function of that name has had this type since CUDA 3.2.
    let get = unsafe { transmute::<*mut libc::c_void, MemGetInfo>(address) };
    let (mut free, mut total) = (0, 0);
    // SAFETY: writes two numbers.
    let error = unsafe { get(&mut free, &mut total) };
    ensure!(error == 0, "cuMemGetInfo: error {error}");
    Ok((total - free) as f64)
}

#[cfg(not(unix))]
pub fn memory_in_use() -> Result<f64> {
    Ok(f64::NAN)
}
