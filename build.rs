//! Finds libtorch for this crate's own tests, examples and benches, checks whether it has CUDA, and compiles
//! the C++ of src/autograd and src/cpu against it. Gives the documentation its pictures.
//!
//! Cargo passes link arguments to the binaries of this package only. build.md says what an importing project
//! has to do.

use std::env;
use std::path::Path;

/// A libtorch function whose mangled name shows that it takes the `std::string` from before GCC 5.
const OLD_ABI: &[u8] = b"torchCheckFailEPKcS2_jRKSs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(libtorch_cuda, recompute)");
    pictures::define();
    if env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return;
    }
    // torch-sys says where libtorch is, but not on Windows.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").ok();
    if let Some(lib) = &lib
        && env::var_os("CARGO_CFG_WINDOWS").is_none()
    {
        link(lib);
    }
    #[cfg(feature = "recompute")]
    cpp::compile(lib.as_deref());
}

fn link(lib: &str) {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    check_abi(lib);

    // The whole directory, since cargo would rerun every time for a missing file.
    println!("cargo::rerun-if-changed={lib}");
    if Path::new(lib).join("libtorch_cuda.so").exists() {
        // Compiles src/link_cuda.rs in, which keeps that library.
        println!("cargo::rustc-cfg=libtorch_cuda");
    }
}

/// torch-sys doesn't check which C++ ABI libtorch has, and the wrong one ends in pages of linker output.
fn check_abi(lib: &str) {
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo::rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    let Ok(library) = std::fs::read(Path::new(lib).join("libc10.so")) else { return };
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return; // Python has told torch-sys.
    }
    let old = library.windows(OLD_ABI.len()).any(|name| name == OLD_ABI);
    let built_for_old = env::var("LIBTORCH_CXX11_ABI").is_ok_and(|abi| abi == "0");
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

/// The pictures of docs/images for src/guide.rs.
mod pictures {
    use std::path::Path;
    use std::{env, fs};

    const FOLDER: &str = "docs/images";

    /// Writes a file of Markdown that defines each picture's name as a link to the picture itself.
    pub fn define() {
        println!("cargo::rerun-if-changed={FOLDER}");
        // Without the folder, the crate still builds.
        let files = fs::read_dir(FOLDER).into_iter().flatten();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        let svgs = paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "svg"));
        let definitions: String = svgs.map(|path| definition(path)).collect();
        let page = Path::new(&env::var_os("OUT_DIR").unwrap()).join("pictures.md");
        fs::write(page, definitions).unwrap();
    }

    fn definition(path: &Path) -> String {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let url: String = fs::read(path).unwrap().into_iter().map(percent_encoded).collect();
        format!("[{name}]: data:image/svg+xml,{url}\n")
    }

    fn percent_encoded(byte: u8) -> String {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).into()
            }
            _ => format!("%{byte:02X}"),
        }
    }
}

/// Compiles the C++ as torch-sys compiles its own, from the same environment variables: it passes none of
/// this on.
#[cfg(feature = "recompute")]
mod cpp {
    use std::env;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    const FILES: [&str; 3] =
        ["src/autograd/function.cpp", "src/autograd/segment.cpp", "src/cpu/large.cpp"];

    /// Compiles the C++, unless no headers are found.
    pub fn compile(lib: Option<&str>) {
        let Some(headers) = Headers::of_pytorch().or_else(|| Headers::of_libtorch(lib)) else {
            println!(
                "cargo::warning=libtorch's headers were not found: masks are stored instead of recomputed"
            );
            return;
        };
        println!("cargo::rustc-cfg=recompute");
        FILES.iter().for_each(|file| println!("cargo::rerun-if-changed={file}"));
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .warnings(false)
            .includes(&headers.folders)
            .define("_GLIBCXX_USE_CXX11_ABI", headers.cxx11_abi.as_str())
            .define("GLOG_USE_GLOG_EXPORT", None)
            .files(FILES)
            .try_compile("tch_dropout_cpp")
            .unwrap_or_else(|error| {
                panic!("{error}\nWithout the feature recompute no C++ is compiled.")
            });
    }

    struct Headers {
        folders: Vec<PathBuf>,
        /// Whether libtorch has the strings of C++11: "0" or "1".
        cxx11_abi: String,
    }

    impl Headers {
        fn of_pytorch() -> Option<Headers> {
            variable("LIBTORCH_USE_PYTORCH")?;
            let python = match env::var_os("VIRTUAL_ENV") {
                _ if cfg!(windows) => "python.exe",
                Some(_) => "python",
                None => "python3",
            };
            let code = "import torch; from torch.utils import cpp_extension
print(int(torch._C._GLIBCXX_USE_CXX11_ABI), *cpp_extension.include_paths(), sep='\\n')";
            let output = Command::new(python).args(["-c", code]).output();
            let output = output.unwrap_or_else(|error| panic!("cannot run {python}: {error}"));
            let text = String::from_utf8_lossy(&output.stdout);
            let mut lines = text.lines().map(str::to_owned);
            let cxx11_abi =
                lines.next().unwrap_or_else(|| panic!("no torch in {python}: {output:?}"));
            Some(Headers { folders: lines.map(PathBuf::from).collect(), cxx11_abi })
        }

        fn of_libtorch(lib: Option<&str>) -> Option<Headers> {
            let libtorch = variable("LIBTORCH_INCLUDE").or_else(|| variable("LIBTORCH"));
            let libtorch = libtorch.map(PathBuf::from);
            let include =
                libtorch.or_else(|| Some(Path::new(lib?).parent()?.to_owned()))?.join("include");
            let cxx11_abi = variable("LIBTORCH_CXX11_ABI").unwrap_or_else(|| "1".to_owned());
            let api = include.join("torch/csrc/api/include");
            Some(Headers { folders: vec![include, api], cxx11_abi })
        }
    }

    fn variable(name: &str) -> Option<String> {
        println!("cargo::rerun-if-env-changed={name}");
        env::var(name).ok()
    }
}
