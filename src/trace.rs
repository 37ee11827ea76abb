//! Whether `CModule::create_by_tracing` is recording.
//!
//! A trace records operations. Writing into a tensor's memory is not one, so a traced model would multiply by
//! uninitialised memory. libtorch says whether it is tracing in C++ only, and tch does not expose that.
#![allow(unsafe_code, reason = "calls C++, or reads a variable of its")]

/// Whether this thread's operations are being recorded.
#[cfg(recompute)]
pub(crate) fn is_tracing() -> bool {
    unsafe extern "C" {
        /// In autograd/function.cpp.
        safe fn tch_dropout_is_tracing() -> bool;
    }

    tch_dropout_is_tracing()
}

/// Whether this thread's operations are being recorded, without a C++ compiler.
#[cfg(not(recompute))]
pub(crate) fn is_tracing() -> bool {
    use std::ffi::c_void;

    unsafe extern "C" {
        /// `const std::shared_ptr<TracingState>& torch::jit::tracer::getTracingState()`. A reference is a
        /// pointer to the `shared_ptr`, whose first word is the pointer that it holds.
        #[cfg_attr(
            target_env = "msvc",
            link_name = "?getTracingState@tracer@jit@torch@@YAAEBV?$shared_ptr@UTracingState@tracer@jit@torch@@@std@@XZ"
        )]
        #[cfg_attr(not(target_env = "msvc"), link_name = "_ZN5torch3jit6tracer15getTracingStateEv")]
        fn get_tracing_state() -> *const *const c_void;
    }

    // SAFETY: takes no arguments, and may be called on any thread. What it returns is a variable of this
    // thread, valid while the thread lives; libstdc++, libc++ and Microsoft's library have its pointer in
    // the first word.
    unsafe { !(*get_tracing_state()).is_null() }
}

#[cfg(test)]
mod tests {
    use tch::{CModule, Tensor};

    use super::is_tracing;

    #[test]
    fn a_thread_traces_in_the_closure_that_is_recorded_and_nowhere_else() {
        let mut seen = Vec::new();
        let mut model = |inputs: &[Tensor]| {
            let elsewhere = std::thread::spawn(is_tracing).join().unwrap();
            seen.push((is_tracing(), elsewhere));
            vec![&inputs[0] * 2.0]
        };
        assert!(!is_tracing());
        CModule::create_by_tracing("model", "forward", &[Tensor::from(1.0)], &mut model).unwrap();
        assert!(!is_tracing());
        assert_eq!(seen, [(true, false)]);
    }
}
