//! Lets the programs and tests find libtorch at run time, as build.md describes for other projects.

fn main() {
    // What the library's tests share with these asks for it.
    println!("cargo::rustc-check-cfg=cfg(recompute)");
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
