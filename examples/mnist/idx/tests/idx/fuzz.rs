//! Checks the promise with a fuzzer's input. In `examples/mnist/idx`:
//!
//!     cargo install cargo-fuzz
//!     RUSTC_BOOTSTRAP=1 cargo fuzz run idx
//!
//! The variable lets a stable compiler use the nightly options that cargo-fuzz needs.
#![no_main]

mod promise;

libfuzzer_sys::fuzz_target!(
    init: {
        // Whoever wants backtraces of panics does not want one of each error.
        // SAFETY: the fuzzer has started no thread yet.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    },
    |file: &[u8]| {
        promise::check(file);
    }
);
