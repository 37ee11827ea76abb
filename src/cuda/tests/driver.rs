//! What happens when the driver, or a function of it, is missing, too old, or fails.

use tch::{Device, Kind};

use super::emulated::{Emulator, Settings, alone, source};
use super::kernels::{input, numbers, outcomes};
use crate::cuda::driver::FUNCTIONS;
use crate::cuda::gpu::{Gpu, Inputs};
use crate::error::Error;
use crate::layout::Layout;

/// Loads a kernel, and launches it.
fn product(gpu: &Gpu) -> crate::error::Result<bool> {
    let (x, layout) = (input(&[100], Kind::Float, 1), Layout::contiguous(&[100], Kind::Float));
    Ok(gpu.write(&numbers(0.3, outcomes()[0]), &layout, Inputs::X(&x))?.is_some())
}

#[test]
fn without_a_function_there_is_no_driver() {
    let (emulator, _alone) = Emulator::usual();
    assert!(emulator.driver_without(None).is_some());
    for missing in FUNCTIONS {
        assert!(emulator.driver_without(Some(missing)).is_none(), "{missing:?}");
    }
}

/// On this machine, there is no GPU, or no driver for it: finding that out is not an error.
#[test]
fn a_gpu_that_is_not_there_is_not_ready() {
    assert!(!crate::cuda::is_ready(63));
    assert!(!crate::cuda::is_ready(64));
    assert!(!crate::cuda::is_ready(usize::MAX));
}

#[test]
fn an_old_driver_and_an_old_gpu_are_not_used() {
    let (emulator, _alone) = Emulator::usual();
    let driver = emulator.driver_without(None).unwrap();
    for (version, capability, works) in
        [(11080, 7, true), (13000, 10, true), (11070, 7, false), (11080, 6, false)]
    {
        emulator.set(Settings { version, capability, ..Settings::USUAL });
        assert_eq!(Gpu::new(driver, 0, Device::Cpu).is_ok(), works, "{version}, {capability}");
    }
}

/// Before a launch, a failure means that there is no kernel; then, that a mask cannot be drawn.
#[test]
fn what_each_failing_function_leads_to() {
    let (emulator, _alone) = Emulator::usual();
    let driver = emulator.driver_without(None).unwrap();
    let mut seen = Vec::new();
    for &failing in FUNCTIONS {
        emulator.set(Settings { failing, ..Settings::USUAL });
        let gpu = Gpu::new(driver, 0, Device::Cpu);
        // As long as it fails, and when it works again: a kernel is loaded once.
        let outcome = match gpu {
            Err(_) => "no GPU",
            Ok(gpu) => match product(&gpu) {
                Ok(true) => "a product",
                Ok(false) => {
                    emulator.set(Settings::USUAL);
                    assert!(!product(&gpu).unwrap(), "{failing:?}: asked twice");
                    "no kernel"
                }
                Err(error) => panic!("{failing:?}: {error}"),
            },
        };
        assert_eq!(emulator.depth(), 0, "{failing:?} leaves a context");
        seen.push((failing.to_str().unwrap(), outcome));
    }
    assert_eq!(
        seen,
        [
            ("cuInit", "no GPU"),
            ("cuDriverGetVersion", "no GPU"),
            ("cuDeviceGet", "no GPU"),
            ("cuDeviceGetAttribute", "no GPU"),
            ("cuDevicePrimaryCtxRetain", "no GPU"),
            ("cuCtxPushCurrent_v2", "no kernel"),
            ("cuCtxPopCurrent_v2", "a product"),
            ("cuModuleLoadData", "no kernel"),
            ("cuModuleGetFunction", "no kernel"),
            ("cuLaunchKernel", "no kernel"),
            ("cuGetErrorString", "a product"),
            ("aoti_torch_get_current_cuda_stream", "no kernel"),
        ]
    );
}

#[test]
fn a_launch_that_fails_is_an_error_with_the_drivers_text() {
    let (emulator, _alone) = Emulator::usual();
    let gpu = emulator.gpu();
    assert!(product(&gpu).unwrap());
    let error_of = |failing| {
        emulator.set(Settings { failing, ..Settings::USUAL });
        let error = product(&gpu).unwrap_err();
        assert!(matches!(error, Error::Driver(_)));
        assert_eq!(emulator.depth(), 0);
        error.to_string()
    };
    let text = "the CUDA driver cannot run dropout's kernel: ";
    assert_eq!(error_of(c"cuLaunchKernel"), format!("{text}cuLaunchKernel was told to fail"));
    assert_eq!(
        error_of(c"aoti_torch_get_current_cuda_stream"),
        format!("{text}libtorch has no stream for device 0")
    );
    emulator.set(Settings::USUAL);
    assert!(product(&gpu).unwrap());
}

/// A GPU may be full for a while: that must not turn a kernel off for good.
#[test]
fn a_kernel_that_found_no_memory_is_loaded_later() {
    let (emulator, _alone) = Emulator::usual();
    for failing in [c"cuModuleLoadData: out of memory", c"cuLaunchKernel: out of memory"] {
        let gpu = emulator.gpu();
        emulator.set(Settings { failing, ..Settings::USUAL });
        assert!(!product(&gpu).unwrap(), "{failing:?}: the CPU draws");
        emulator.set(Settings::USUAL);
        assert!(product(&gpu).unwrap(), "{failing:?}");
    }
    assert_eq!(emulator.depth(), 0);
}

/// A kernel that does not write the CPU's masks is not used.
#[test]
fn a_kernel_that_is_wrong_is_not_trusted() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.cu");
    let text = std::fs::read_to_string(source()).unwrap();
    std::fs::write(&wrong, text.replace("0xD2511F53", "0xD2511F51")).unwrap();
    let emulator = Emulator::compile(&wrong, &[]);
    emulator.set(Settings::USUAL);
    assert!(!product(&emulator.gpu()).unwrap());
}

/// A launch is on the stream of its context's device.
#[test]
fn every_gpu_has_a_context_and_a_stream_of_its_own() {
    let (emulator, _alone) = Emulator::usual();
    let driver = emulator.driver_without(None).unwrap();
    for index in [0, 1, 0] {
        assert!(product(&Gpu::new(driver, index, Device::Cpu).unwrap()).unwrap(), "{index}");
    }
    assert_eq!(emulator.depth(), 0);
}

/// What is kept for a GPU is shared by all threads, those of libtorch's backward passes included.
#[test]
fn threads_share_a_gpu() {
    let (emulator, _alone) = Emulator::usual();
    let gpu = &emulator.gpu();
    // One after the other, since the emulator runs one launch at a time.
    for _ in 0..3 {
        let worked = std::thread::scope(|scope| scope.spawn(move || product(gpu)).join().unwrap());
        assert!(worked.unwrap());
    }
    assert_eq!(emulator.depth(), 0);
}
