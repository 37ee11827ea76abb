//! What build.rs tells cargo, run as a program of its own: against libraries that are files of a few bytes, and with a
//! stand-in for the crate `cc` that prints what it is to compile.
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const CC: &str = r#"
pub struct Build;
impl Build {
    pub fn new() -> Self { Build }
    pub fn cpp(&mut self, _: bool) -> &mut Self { self }
    pub fn std(&mut self, _: &str) -> &mut Self { self }
    pub fn warnings(&mut self, _: bool) -> &mut Self { self }
    pub fn includes(&mut self, folders: &[std::path::PathBuf]) -> &mut Self {
        folders.iter().for_each(|folder| println!("include {}", folder.display()));
        self
    }
    pub fn define<'a>(&mut self, name: &str, value: impl Into<Option<&'a str>>) -> &mut Self {
        println!("define {name}={}", value.into().unwrap_or_default());
        self
    }
    pub fn files<'a>(&mut self, files: impl IntoIterator<Item = &'a str>) -> &mut Self {
        files.into_iter().for_each(|file| println!("compile {file}"));
        self
    }
    pub fn file(&mut self, file: &str) -> &mut Self { self.files([file]) }
    pub fn try_compile(&self, _: &str) -> Result<(), std::convert::Infallible> { Ok(()) }
}
"#;

/// build.rs, compiled, and a directory for libraries.
struct Script {
    folder: TempDir,
    program: PathBuf,
}

impl Script {
    fn new() -> Script {
        let folder = tempfile::tempdir().unwrap();
        let rustc = |args: &[&str]| {
            let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
            let output = Command::new(rustc).args(["--edition", "2024"]).args(args).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let [source, cc, program] = ["cc.rs", "libcc.rlib", "build"].map(path);
        fs::write(&source, CC).unwrap();
        rustc(&["--crate-type", "rlib", "--crate-name", "cc", "-o", &cc, &source]);
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
        let (feature, cc) = ("feature=\"recompute\"", format!("cc={cc}"));
        rustc(&["--cfg", feature, "--extern", &cc, "-o", &program, build]);
        fs::create_dir(folder.path().join("lib")).unwrap();
        Script { program: program.into(), folder }
    }

    fn lib(&self) -> PathBuf {
        self.folder.path().join("lib")
    }

    /// What it prints, with these variables and none of this process's.
    fn run(&self, variables: &[(&str, &Path)]) -> String {
        let build = Command::new(&self.program)
            .env_clear()
            .env("OUT_DIR", self.folder.path())
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        String::from_utf8(build.stdout).unwrap()
    }
}

/// rustdoc copies no pictures, so the documentation's contain them, in letters that neither Markdown nor HTML reads.
#[test]
fn pictures_are_defined_as_links_that_contain_them() {
    let script = Script::new();
    let pictures = || fs::read_to_string(script.folder.path().join("pictures.md")).unwrap();
    script.run(&[]);
    assert_eq!(pictures(), "", "a package without its pictures builds");
    let folder = script.folder.path().join("docs/images");
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in [("b-1.svg", "<a b=\"é\">\n"), ("a.svg", "a~1"), ("c.json", "{}")] {
        fs::write(folder.join(name), content).unwrap();
    }
    script.run(&[]);
    let expected = "[a]: data:image/svg+xml,a~1\n\
                    [b-1]: data:image/svg+xml,%3Ca%20b%3D%22%C3%A9%22%3E%0A\n";
    assert_eq!(pictures(), expected);
}

/// libtorch and the build must agree on what a `std::string` is.
#[test]
fn the_abi_is_that_of_libtorch() {
    let script = Script::new();
    let lib = script.lib();
    let errors = |variables: &[(&str, &Path)]| -> Vec<String> {
        let found = ("DEP_TCH_LIBTORCH_LIB", lib.as_path());
        let text = script.run(&[&[found], variables].concat());
        text.lines().filter_map(|line| line.strip_prefix("cargo::error=")).map(Into::into).collect()
    };
    let zero = ("LIBTORCH_CXX11_ABI", Path::new("0"));
    let one = ("LIBTORCH_CXX11_ABI", Path::new("1"));
    let error = |abi: &str, what: &str| {
        [format!("libtorch in {} has the {abi} C++ ABI: {what}, and build again", lib.display())]
    };
    // Functions of both, as they are named in libc10.so.
    let old = b"\x7fELF\0_ZN3c106detail14torchCheckFailEPKcS2_jRKSs\0";
    let new = b"\x7fELF\0_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcE\0";

    assert!(errors(&[]).is_empty(), "without the library, nothing is known");
    fs::write(lib.join("libc10.so"), old).unwrap();
    assert_eq!(errors(&[]), error("old", "set LIBTORCH_CXX11_ABI=0"));
    assert_eq!(errors(&[one]), error("old", "set LIBTORCH_CXX11_ABI=0"));
    assert!(errors(&[zero]).is_empty());
    fs::write(lib.join("libc10.so"), new).unwrap();
    assert_eq!(errors(&[zero]), error("new", "unset LIBTORCH_CXX11_ABI"));
    assert!(errors(&[]).is_empty());
    assert!(errors(&[one]).is_empty());
}

/// The name that the script looks for is the one in the libtorch that these tests run with, or would be in an old one.
#[test]
fn this_libtorch_has_the_abi_that_it_was_built_for() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let _loaded = tch::Tensor::from(1.0);
    let c10 = maps.lines().find(|line| line.ends_with("/libc10.so")).expect("libtorch is loaded");
    let lib = Path::new(&c10[c10.find('/').unwrap()..]).parent().unwrap();
    let abi = env::var_os("LIBTORCH_CXX11_ABI").unwrap_or("1".into());
    let text = Script::new()
        .run(&[("DEP_TCH_LIBTORCH_LIB", lib), ("LIBTORCH_CXX11_ABI", Path::new(&abi))]);
    assert!(!text.contains("cargo::error"), "{text}");
    let other = if abi == "0" { "1" } else { "0" };
    let text = Script::new()
        .run(&[("DEP_TCH_LIBTORCH_LIB", lib), ("LIBTORCH_CXX11_ABI", Path::new(other))]);
    assert!(text.contains("cargo::error"), "{text}");
}

/// The C++ is compiled with the headers beside the libraries, or those of the variables; without any, masks are stored.
#[test]
fn headers_are_found_or_missed_with_a_warning() {
    let script = Script::new();
    let compiled = |text: &str| {
        let has = |line: &str| text.lines().any(|other| other == line);
        assert!(has("cargo::rustc-cfg=recompute") == text.contains("compile src/"), "{text}");
        has("cargo::rustc-cfg=recompute")
    };
    let text = script.run(&[]);
    assert!(!compiled(&text), "{text}");
    let warning =
        "cargo::warning=libtorch's headers were not found: masks are stored instead of recomputed";
    assert!(text.contains(warning), "{text}");

    let (lib, elsewhere) = (script.lib(), Path::new("/elsewhere"));
    let beside = script.folder.path().to_owned();
    for (variables, root) in [
        (vec![("DEP_TCH_LIBTORCH_LIB", lib.as_path())], beside.as_path()),
        (vec![("LIBTORCH", elsewhere)], elsewhere),
        (vec![("LIBTORCH", lib.as_path()), ("LIBTORCH_INCLUDE", elsewhere)], elsewhere),
        (vec![("DEP_TCH_LIBTORCH_LIB", lib.as_path()), ("LIBTORCH", elsewhere)], elsewhere),
    ] {
        let text = script.run(&variables);
        assert!(compiled(&text) && !text.contains("cargo::warning"), "{text}");
        let include = root.join("include").display().to_string();
        for line in [
            format!("include {include}"),
            format!("include {include}/torch/csrc/api/include"),
            "define _GLIBCXX_USE_CXX11_ABI=1".to_owned(),
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is missing in\n{text}");
        }
    }
    let old = [("LIBTORCH", elsewhere), ("LIBTORCH_CXX11_ABI", Path::new("0"))];
    assert!(script.run(&old).contains("define _GLIBCXX_USE_CXX11_ABI=0\n"));
    assert!(!compiled(&script.run(&[("CARGO_FEATURE_DOC_ONLY", Path::new("1"))])));
}
