//! How this crate's own tests, examples and benches find libtorch, and keep CUDA.
//!
//! Cargo passes link arguments to the binaries of this package only. What an importing project has to
//! do is in build.md.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // torch-sys says where libtorch is, unless it was built without one, for the documentation.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    if std::env::var("CARGO_CFG_WINDOWS").is_ok() {
        return;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");

    // The whole directory, as cargo would rerun each time for a file that is not there.
    println!("cargo::rerun-if-changed={lib}");
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        // No symbol of it is named anywhere, so that a linker would drop it.
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}
