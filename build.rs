//! Where libtorch is, for this crate's own tests, examples and benches; and whether it has CUDA.
//!
//! Cargo passes link arguments to the binaries of this package only. What an importing project has to
//! do is in build.md.

use std::path::Path;

/// A function of libtorch's whose name tells that it takes the `std::string` of before GCC 5.
const OLD_ABI: &[u8] = b"torchCheckFailEPKcS2_jRKSs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(libtorch_cuda)");
    // torch-sys says where libtorch is, unless it was built without one, for the documentation.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    if std::env::var("CARGO_CFG_WINDOWS").is_ok() {
        return;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    check_abi(&lib);

    // The whole directory, as cargo would rerun each time for a file that is not there.
    println!("cargo::rerun-if-changed={lib}");
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        // Compiles src/cuda.rs, which keeps it.
        println!("cargo::rustc-cfg=libtorch_cuda");
    }
}

/// torch-sys doesn't look which C++ ABI libtorch has, and the wrong one ends in pages of the linker's output.
fn check_abi(lib: &str) {
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo::rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    let Ok(library) = std::fs::read(Path::new(lib).join("libc10.so")) else { return };
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return; // Python has told torch-sys.
    }
    let old = library.windows(OLD_ABI.len()).any(|name| name == OLD_ABI);
    let built_for_old = std::env::var("LIBTORCH_CXX11_ABI").is_ok_and(|abi| abi == "0");
    match (old, built_for_old) {
        (true, false) => println!(
            "cargo::error=libtorch in {lib} has the old C++ ABI: set LIBTORCH_CXX11_ABI=0, and build again"
        ),
        (false, true) => println!(
            "cargo::error=libtorch in {lib} has the new C++ ABI: unset LIBTORCH_CXX11_ABI, and build again"
        ),
        _ => {}
    }
}
