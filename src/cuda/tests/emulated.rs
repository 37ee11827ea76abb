//! A driver over the emulator.
#![allow(unsafe_code, reason = "loads a library, and calls its functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::mem::transmute;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tch::Device;

use crate::cuda::driver::Driver;
use crate::cuda::gpu::Gpu;

/// What the driver says, and does.
pub(super) struct Settings {
    /// The function that fails; with `: out of memory` after its name, for want of memory.
    pub(super) failing: &'static CStr,
    pub(super) version: c_int,
    pub(super) capability: c_int,
    pub(super) processors: c_int,
    /// Where arrays begin that are too large to have.
    pub(super) first_element: u64,
    /// The part that is run of a grid that is too large.
    pub(super) blocks: Range<c_uint>,
}

impl Settings {
    pub(super) const USUAL: Settings = Settings {
        failing: c"",
        version: 11080,
        capability: 7,
        processors: 1,
        first_element: 0,
        blocks: 0..c_uint::MAX,
    };
}

type Set = unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, u64, c_uint, c_uint);
type Depth = unsafe extern "C" fn() -> c_int;

/// A library with the driver's functions, which is never unloaded.
#[derive(Clone, Copy)]
pub(super) struct Emulator(*mut c_void);

// SAFETY: a handle of the dynamic linker, which any thread may use. What the library keeps is used by one thread at a
// time, since every use of an emulator holds `alone`.
unsafe impl Send for Emulator {}
// SAFETY: a shared handle is only copied, and used under `alone`.
unsafe impl Sync for Emulator {}

/// The source of the kernels.
pub(super) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/dropout.cu")
}

impl Emulator {
    /// Of the kernels as they are; and this thread alone has it, in its usual settings.
    pub(super) fn usual() -> (Emulator, MutexGuard<'static, ()>) {
        static EMULATOR: OnceLock<Emulator> = OnceLock::new();
        let alone = alone();
        let emulator = *EMULATOR.get_or_init(|| Emulator::compile(&source(), &[]));
        emulator.set(Settings::USUAL);
        (emulator, alone)
    }

    /// Of other kernels.
    pub(super) fn compile(kernels: &Path, options: &[&str]) -> Emulator {
        let folder = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/tests");
        let library = folder.path().join("driver.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(&compiler)
            .args(["-std=c++17", "-O1", "-w", "-ffp-contract=off", "-fPIC", "-shared"])
            .arg(format!("-DKERNELS=\"{}\"", kernels.display()))
            .args(options)
            .arg(here.join("driver.cpp"))
            .arg("-o")
            .arg(&library)
            .output()
            .unwrap_or_else(|error| panic!("cannot run {compiler}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a C string, and a library whose initializers only fill a map.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "cannot load {}", library.display());
        Emulator(handle)
    }

    fn find(self, name: &CStr) -> *mut c_void {
        // SAFETY: a library that stays loaded, and a C string.
        unsafe { libc::dlsym(self.0, name.as_ptr()) }
    }

    pub(super) fn set(self, settings: Settings) {
        let Settings { failing, version, capability, processors, first_element, blocks } = settings;
        // SAFETY: driver.cpp defines it with these parameters, and copies the C string.
        unsafe {
            let set = transmute::<*mut c_void, Set>(self.find(c"emulator_set"));
            let Range { start, end } = blocks;
            set(failing.as_ptr(), version, capability, processors, first_element, start, end);
        }
    }

    /// How many contexts are current.
    pub(super) fn depth(self) -> c_int {
        // SAFETY: driver.cpp defines it so.
        unsafe { transmute::<*mut c_void, Depth>(self.find(c"emulator_depth"))() }
    }

    /// The kernels' rounding of a number in single precision, from bits to bits.
    pub(super) fn round_to_bf16(self, bits: u32) -> u16 {
        let round = self.find(c"emulator_round_to_bf16");
        // SAFETY: driver.cpp defines it so.
        let round = unsafe { transmute::<*mut c_void, unsafe extern "C" fn(u32) -> u32>(round) };
        // SAFETY: reads nothing but its argument.
        unsafe { round(bits) as u16 }
    }

    /// The driver, but for a function that is missing; never freed, as that of a process isn't.
    pub(super) fn driver_without(self, missing: Option<&CStr>) -> Option<&'static Driver> {
        let find = |name: &CStr| match missing {
            Some(missing) if missing == name => std::ptr::null_mut(),
            _ => self.find(name),
        };
        // SAFETY: driver.cpp defines those functions as NVIDIA's driver does, and stays loaded.
        let driver = unsafe { Driver::of(find) }?;
        Some(Box::leak(Box::new(driver)))
    }

    /// A GPU whose memory is the CPU's, and that has no kernel loaded yet.
    pub(super) fn gpu(self) -> Gpu {
        Gpu::new(self.driver_without(None).unwrap(), 0, Device::Cpu).unwrap()
    }
}

/// One thread at a time: an emulator has one launch.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
