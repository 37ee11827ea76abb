//! Where libtorch is, for this crate's own tests, examples and benches; and whether it has CUDA.
//!
//! Cargo passes link arguments to the binaries of this package only. What an importing project has to
//! do is in build.md.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(libtorch_cuda)");
    // torch-sys says where libtorch is, unless it was built without one, for the documentation.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    if std::env::var("CARGO_CFG_WINDOWS").is_ok() {
        return;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");

    // The whole directory, as cargo would rerun each time for a file that is not there.
    println!("cargo::rerun-if-changed={lib}");
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        // Compiles src/cuda.rs, which keeps it.
        println!("cargo::rustc-cfg=libtorch_cuda");
    }
}
