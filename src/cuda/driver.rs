//! NVIDIA's driver: loads PTX and launches it.
//!
//! Its functions are found by name when they are first needed, so that a program neither links them nor needs a
//! toolkit, and runs where there is no driver.
#![allow(unsafe_code, reason = "calls the CUDA driver, which is C")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::transmute;
use std::ptr;

use crate::error::{Error, Result};

/// A `CUresult`: 0 if it worked.
type Status = c_int;

/// What a kernel is told, by value: `Job` in dropout.cu, field by field.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Job {
    pub(super) x: *const c_void,
    pub(super) residual: *const c_void,
    pub(super) y: *mut c_void,
    pub(super) elements: u64,
    pub(super) key: u64,
    pub(super) high: u64,
    pub(super) planes_low: u64,
    pub(super) pools_low: u64,
    pub(super) plane_step: u64,
    pub(super) threshold: u64,
    pub(super) keep_bits: u64,
    pub(super) keep: f64,
    pub(super) shift_kept: f64,
    pub(super) shift_dropped: f64,
    pub(super) deviation: f64,
    pub(super) planes: i32,
    pub(super) has_ties: i32,
}

/// A device's primary context, which libtorch uses too. It is retained, and never released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context(*mut c_void);

/// A kernel that is loaded into a context, and never unloaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function(*mut c_void);

// SAFETY: handles of the driver, which belong to the process and not to a thread. Any thread may pass them to the
// driver, whose functions are thread-safe (CUDA C++ Programming Guide, "Driver API").
unsafe impl Send for Context {}
// SAFETY: a shared handle is only ever copied and passed to the driver, which is thread-safe.
unsafe impl Sync for Context {}
// SAFETY: a handle of the driver, like a context: it belongs to the process and not to a thread.
unsafe impl Send for Function {}
// SAFETY: a shared handle is only ever copied and passed to the driver, which is thread-safe.
unsafe impl Sync for Function {}

macro_rules! functions {
    ($($field:ident: $name:literal($($argument:ty),*)),* $(,)?) => {
        /// The functions that are called.
        #[derive(Debug)]
        pub(super) struct Driver {
            $($field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        /// By name.
        #[cfg(test)]
        pub(super) const FUNCTIONS: &[&CStr] = &[$($name),*];

        impl Driver {
            /// The driver, if `find` finds all functions.
            ///
            /// # Safety
            ///
            /// What `find` finds is the function of that name in NVIDIA's driver or libtorch, and stays loaded.
            #[cfg_attr(not(unix), expect(dead_code, reason = "nobody looks for a driver there"))]
            pub(super) unsafe fn of(find: impl Fn(&CStr) -> *mut c_void) -> Option<Driver> {
                $(
                    let $field = find($name);
                    if $field.is_null() {
                        return None;
                    }
                )*
                // SAFETY: the caller says that these are those functions, which have these signatures in cuda.h,
                // and in torch/csrc/inductor/aoti_torch/c/shim.h since libtorch 2.4.
                Some(unsafe { Driver {
                    $($field: transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> Status>($field),)*
                } })
            }
        }
    };
}

functions! {
    init: c"cuInit"(c_uint),
    version: c"cuDriverGetVersion"(*mut c_int),
    device: c"cuDeviceGet"(*mut c_int, c_int),
    attribute: c"cuDeviceGetAttribute"(*mut c_int, c_int, c_int),
    retain: c"cuDevicePrimaryCtxRetain"(*mut *mut c_void, c_int),
    push: c"cuCtxPushCurrent_v2"(*mut c_void),
    pop: c"cuCtxPopCurrent_v2"(*mut *mut c_void),
    load: c"cuModuleLoadData"(*mut *mut c_void, *const c_void),
    function: c"cuModuleGetFunction"(*mut *mut c_void, *mut c_void, *const c_char),
    launch: c"cuLaunchKernel"(
        *mut c_void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, *mut c_void,
        *mut *mut c_void, *mut *mut c_void
    ),
    error_string: c"cuGetErrorString"(Status, *mut *const c_char),
    current_stream: c"aoti_torch_get_current_cuda_stream"(i32, *mut *mut c_void),
}

/// The driver's version from which on it loads PTX of version 7.8.
const OLDEST_DRIVER: c_int = 11080;
/// The first part of the compute capability that the PTX is for.
const OLDEST_CAPABILITY: c_int = 7;

const MULTIPROCESSOR_COUNT: c_int = 16;
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;

impl Driver {
    /// This machine's driver, with libtorch's current stream; `None` without either.
    #[cfg(unix)]
    pub(super) fn of_this_machine() -> Option<Driver> {
        // SAFETY: the names are C strings. Loading NVIDIA's library does no more than set it up; libtorch's is only found
        // if it is loaded already. Neither is ever closed.
        let (driver, libtorch) = unsafe {
            (
                libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW),
                libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD),
            )
        };
        if driver.is_null() || libtorch.is_null() {
            return None;
        }
        let find = |name: &CStr| {
            let library = if name.to_bytes().starts_with(b"cu") { driver } else { libtorch };
            // SAFETY: `dlsym` gets a handle of `dlopen`'s that is never closed, and a C string.
            unsafe { libc::dlsym(library, name.as_ptr()) }
        };
        // SAFETY: `find` returns functions of these names in libcuda.so.1 and libtorch_cuda.so, which are never closed.
        unsafe { Driver::of(find) }
    }

    /// Nobody has tried it on Windows.
    #[cfg(not(unix))]
    pub(super) fn of_this_machine() -> Option<Driver> {
        None
    }

    /// The primary context of a device, and how many multiprocessors it has; an error if it cannot run the PTX.
    pub(super) fn context(&self, device: usize) -> Result<(Context, u32)> {
        let ordinal =
            c_int::try_from(device).map_err(|_| Error::Driver("no such device".into()))?;
        let mut context = ptr::null_mut();
        let (mut version, mut handle, mut capability, mut processors) = (0, 0, 0, 0);
        // SAFETY: `cuInit`, `cuDriverGetVersion`, `cuDeviceGet` and `cuDeviceGetAttribute` each write one int, to a variable of
        // ours; `handle` is a device's once `cuDeviceGet` has worked. Initializing the driver again does nothing.
        unsafe {
            self.check((self.init)(0))?;
            self.check((self.version)(&mut version))?;
            self.check((self.device)(&mut handle, ordinal))?;
            self.check((self.attribute)(&mut capability, COMPUTE_CAPABILITY_MAJOR, handle))?;
            self.check((self.attribute)(&mut processors, MULTIPROCESSOR_COUNT, handle))?;
        }
        if version < OLDEST_DRIVER || capability < OLDEST_CAPABILITY {
            return Err(Error::Driver(format!(
                "version {version} with compute capability {capability} is too old"
            )));
        }
        // SAFETY: `cuDevicePrimaryCtxRetain` writes a pointer to a variable of ours; the device is one that `cuDeviceGet` gave.
        unsafe { self.check((self.retain)(&mut context, handle))? };
        Ok((Context(context), processors.unsigned_abs().max(1)))
    }

    /// Compiles a module and finds its kernel.
    pub(super) fn load(&self, context: Context, ptx: &CStr, name: &CStr) -> Result<Function> {
        let (mut module, mut function) = (ptr::null_mut(), ptr::null_mut());
        self.within(context, || {
            // SAFETY: `within` has made a context current, as `cuModuleLoadData` asks. That reads the PTX, a C string, and
            // writes the module to a variable of ours; `cuModuleGetFunction` does the same for the name and the function.
            unsafe {
                self.check((self.load)(&mut module, ptx.as_ptr().cast()))?;
                self.check((self.function)(&mut function, module, name.as_ptr()))
            }
        })?;
        Ok(Function(function))
    }

    /// Launches a kernel on libtorch's current stream for a device, and does not wait for it.
    ///
    /// # Safety
    ///
    /// The function is a kernel of dropout.cu, loaded into this context, which is that of the device. The job's arrays
    /// are on the device, and have as many elements of the kernel's kind as it says; what works on that stream does not
    /// use them otherwise meanwhile. They are freed by libtorch, which waits for the stream.
    pub(super) unsafe fn launch(
        &self,
        (context, device): (Context, usize),
        function: Function,
        (blocks, threads): (u32, u32),
        job: &Job,
    ) -> Result<()> {
        let mut stream = ptr::null_mut();
        // SAFETY: `aoti_torch_get_current_cuda_stream` writes a pointer to a variable of ours, for any device number.
        let status = unsafe { (self.current_stream)(device as i32, &mut stream) };
        if status != 0 {
            return Err(Error::Driver(format!("libtorch has no stream for device {device}")));
        }
        let mut parameters = [ptr::from_ref(job).cast_mut().cast::<c_void>()];
        self.within(context, || {
            // SAFETY: `within` has made the context current, and the stream is libtorch's for its device. The kernel has one
            // parameter, a `Job`, which `cuLaunchKernel` copies before it returns. That the function is of this context and
            // takes this job, and that the job's memory lives until the kernel ends, is this function's contract.
            let status = unsafe {
                let parameters = parameters.as_mut_ptr();
                (self.launch)(
                    function.0,
                    blocks,
                    1,
                    1,
                    threads,
                    1,
                    1,
                    0,
                    stream,
                    parameters,
                    ptr::null_mut(),
                )
            };
            self.check(status)
        })
    }

    /// Makes a context current for a while: this thread may have none, or that of another device.
    fn within(&self, context: Context, work: impl FnOnce() -> Result<()>) -> Result<()> {
        // SAFETY: a context that `cuDevicePrimaryCtxRetain` gave, and that is never released.
        unsafe { self.check((self.push)(context.0))? };
        let result = work();
        let mut same = ptr::null_mut();
        // SAFETY: `cuCtxPopCurrent` takes off the context that `cuCtxPushCurrent` has put there on this thread, and writes it
        // to a variable of ours.
        unsafe { (self.pop)(&mut same) };
        result
    }

    /// The driver's words for what went wrong.
    fn check(&self, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let mut text = ptr::null();
        // SAFETY: `cuGetErrorString` writes a pointer to a variable of ours: to a C string that is never freed, or null.
        let known = unsafe { (self.error_string)(status, &mut text) } == 0 && !text.is_null();
        let text = match known {
            // SAFETY: the C string that has just been found, and that is never freed.
            true => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
            false => format!("error {status}"),
        };
        Err(Error::Driver(text))
    }
}
