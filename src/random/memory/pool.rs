//! libtorch's own threads. They spin for a while after each parallel region, so that a second pool
//! would fight them for the cores.

/// Calls `work(thread, threads)` once for each thread of a team of at most `threads`, the calling
/// one among them, and returns when all are done.
///
/// The team is smaller, down to this thread alone, where the pool has no more threads to give,
/// inside another parallel region, and where libtorch has no OpenMP.
pub(crate) fn run(threads: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match threads {
        0 | 1 => work(0, 1),
        _ => run_parallel(threads, work),
    }
}

#[cfg(target_os = "linux")]
fn run_parallel(threads: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match openmp::OpenMp::get() {
        Some(openmp) => openmp.run(threads, work),
        None => work(0, 1),
    }
}

#[cfg(not(target_os = "linux"))]
fn run_parallel(_threads: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    work(0, 1);
}

#[cfg(target_os = "linux")]
mod openmp {
    use std::ffi::{c_int, c_uint, c_void, CStr};
    use std::sync::OnceLock;

    /// How a compiler's OpenMP calls its runtime: GNU's names, which LLVM's and Intel's have too.
    pub(super) struct OpenMp {
        parallel: unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint),
        thread_num: unsafe extern "C" fn() -> c_int,
        num_threads: unsafe extern "C" fn() -> c_int,
    }

    type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

    /// The environment of one parallel region.
    struct Region<'a> {
        openmp: &'a OpenMp,
        work: Work<'a>,
    }

    impl OpenMp {
        /// The runtime that libtorch has loaded, looked up once.
        pub(super) fn get() -> Option<&'static OpenMp> {
            static OPENMP: OnceLock<Option<OpenMp>> = OnceLock::new();
            OPENMP.get_or_init(OpenMp::find).as_ref()
        }

        fn find() -> Option<OpenMp> {
            // SAFETY: the name is a C string; NOLOAD only finds what is loaded already. The handle
            // is kept for ever, so that what is found in it stays valid.
            let libtorch = unsafe {
                libc::dlopen(c"libtorch_cpu.so".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD)
            };
            if libtorch.is_null() {
                return None;
            }
            // Looks in libtorch and then in the libraries that it needs.
            let find = |name: &CStr| {
                // SAFETY: an open handle and a C string.
                let symbol = unsafe { libc::dlsym(libtorch, name.as_ptr()) };
                (!symbol.is_null()).then_some(symbol)
            };
            let parallel = find(c"GOMP_parallel")?;
            let thread_num = find(c"omp_get_thread_num")?;
            let num_threads = find(c"omp_get_num_threads")?;
            // SAFETY: these names have these signatures: the first in GNU's libgomp ABI (since GCC
            // 4.9), the others in the OpenMP standard.
            unsafe {
                Some(OpenMp {
                    parallel: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(
                            extern "C" fn(*mut c_void),
                            *mut c_void,
                            c_uint,
                            c_uint,
                        ),
                    >(parallel),
                    thread_num: std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(
                        thread_num,
                    ),
                    num_threads: std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(
                        num_threads,
                    ),
                })
            }
        }

        pub(super) fn run(&self, threads: usize, work: Work) {
            let mut region = Region { openmp: self, work };
            let region: *mut Region = &mut region;
            // SAFETY: `enter` reads the region and nothing else; the region outlives this call,
            // which returns only when every thread has. `work` is `Sync`.
            unsafe { (self.parallel)(enter, region.cast(), threads as c_uint, 0) }
        }
    }

    /// What each thread of a team runs. A panic in it ends the process, as one may not unwind into C.
    extern "C" fn enter(region: *mut c_void) {
        // SAFETY: it is the `Region` that `run` holds until all threads have returned; shared only.
        let region = unsafe { &*region.cast::<Region>() };
        // SAFETY: both may be called anywhere, at any time.
        let (thread, threads) =
            unsafe { ((region.openmp.thread_num)(), (region.openmp.num_threads)()) };
        (region.work)(thread as usize, threads as usize);
    }
}
