//! libtorch's own threads. They spin for a while after each parallel region, so a second thread pool would
//! compete with them for cores.
#![allow(unsafe_code, reason = "calls OpenMP's runtime, which is C")]

/// Calls `work(thread, threads)` once on each thread of a team of at most `threads`, which includes the
/// calling one, and returns when all are done.
///
/// The team is smaller, down to this thread alone, if OpenMP has no more threads, inside another parallel
/// region, and if libtorch has no OpenMP.
pub(crate) fn run(threads: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match threads {
        0 | 1 => work(0, 1),
        _ => run_parallel(threads, work),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn run_parallel(_threads: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    work(0, 1);
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
use runtime::run_parallel;

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod runtime {
    use std::ffi::{CStr, c_int, c_uint, c_void};
    use std::mem::transmute;
    use std::sync::OnceLock;

    type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);
    type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
    type Number = unsafe extern "C" fn() -> c_int;

    pub(super) fn run_parallel(threads: usize, work: Work) {
        static OPENMP: OnceLock<Option<OpenMp>> = OnceLock::new();
        match OPENMP.get_or_init(OpenMp::find) {
            Some(openmp) => openmp.run(threads, work),
            None => work(0, 1),
        }
    }

    /// The runtime's functions, under GNU's names, which LLVM's and Intel's runtimes have too.
    struct OpenMp {
        parallel: Parallel,
        thread_num: Number,
        num_threads: Number,
    }

    /// What the threads of one parallel region get.
    struct Region<'a> {
        openmp: &'a OpenMp,
        work: Work<'a>,
    }

    impl OpenMp {
        /// Finds the runtime that libtorch has loaded.
        fn find() -> Option<OpenMp> {
            let libtorch = libtorch()?;
            let find = |name: &CStr| {
                // SAFETY: `dlsym` gets a handle of `dlopen`'s that is never closed, and a C string.
                let symbol = unsafe { libc::dlsym(libtorch, name.as_ptr()) };
                (!symbol.is_null()).then_some(symbol)
            };
            let parallel = find(c"GOMP_parallel")?;
            let thread_num = find(c"omp_get_thread_num")?;
            let num_threads = find(c"omp_get_num_threads")?;
            // SAFETY: these names have these signatures: the first in the ABI of GNU's libgomp (since GCC
            // 4.9), the others in the OpenMP standard.
            unsafe {
                Some(OpenMp {
                    parallel: transmute::<*mut c_void, Parallel>(parallel),
                    thread_num: transmute::<*mut c_void, Number>(thread_num),
                    num_threads: transmute::<*mut c_void, Number>(num_threads),
                })
            }
        }

        fn run(&self, threads: usize, work: Work) {
            let mut region = Region { openmp: self, work };
            let region: *mut Region = &mut region;
            // SAFETY: `GOMP_parallel` calls `enter` with the region on each thread, and returns only when all have (libgomp's
            // ABI), so the region outlives them. `enter` only shares it, and `work` is `Sync`.
            unsafe { (self.parallel)(enter, region.cast(), threads as c_uint, 0) }
        }
    }

    /// Where to look for a symbol: in libtorch, and then in the libraries that it needs.
    #[cfg(target_os = "linux")]
    fn libtorch() -> Option<*mut c_void> {
        // SAFETY: the name is a C string; NOLOAD only finds what is loaded already. The handle is never closed,
        // so what is found in it stays valid.
        let libtorch = unsafe {
            libc::dlopen(c"libtorch_cpu.so".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD)
        };
        (!libtorch.is_null()).then_some(libtorch)
    }

    /// Where to look for a symbol: in all that is loaded, which includes libtorch's libomp.
    #[cfg(target_os = "macos")]
    fn libtorch() -> Option<*mut c_void> {
        Some(libc::RTLD_DEFAULT)
    }

    /// What each thread of a team runs. A panic in it aborts the process, since it must not unwind into C.
    extern "C" fn enter(region: *mut c_void) {
        // SAFETY: `run` gives `GOMP_parallel` a `Region` for this function, and holds it until that has returned, which it
        // does after all threads. They only share it.
        let region = unsafe { &*region.cast::<Region>() };
        // SAFETY: `omp_get_thread_num` and `omp_get_num_threads` take nothing, and the OpenMP standard lets any thread call
        // them at any time.
        let (thread, threads) =
            unsafe { ((region.openmp.thread_num)(), (region.openmp.num_threads)()) };
        (region.work)(thread as usize, threads as usize);
    }
}
