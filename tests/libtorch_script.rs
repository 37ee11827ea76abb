//! `scripts/libtorch.sh` with a python3 that only pretends to download.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A python3 whose pip makes the files of torch's package, and notes what it was asked for.
const PRETENDS: &str = r#"#!/bin/sh
[ "$3" = --version ] && exit 0
echo "$*" >> ../calls
while [ "$1" != --target ]; do shift; done
case "$*" in *" torch=="*) ;; *) exit 0 ;; esac
mkdir -p "$2/torch/lib" "$2/torch-2.dist-info"
for library in $LIBRARIES; do echo "$SYMBOL" > "$2/torch/lib/$library"; done
echo "$REQUIRES" > "$2/torch-2.dist-info/METADATA"
"#;

const WITH_CUDA: &str = "libc10.so libtorch.so libtorch_cpu.so libtorch_cuda.so libtorch_cuda_linalg.so \
                         libc10_cuda.so libtorch_nvshmem.so";
const CUDA_13: &str = "Requires-Dist: cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system";

/// A python3 whose pip fails with this message.
fn fails_with(message: &str) -> String {
    format!("#!/bin/sh\n[ \"$3\" = --version ] && exit 0\necho '{message}' >&2\nexit 1\n")
}

/// A copy of the script in a repository with nothing else, and a PATH with a python3 of ours.
struct Sandbox(TempDir);

impl Sandbox {
    fn new(python3: Option<&str>) -> Self {
        let sandbox = Sandbox(tempfile::tempdir().unwrap());
        fs::create_dir_all(sandbox.path("repository/scripts")).unwrap();
        fs::create_dir(sandbox.path("bin")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/libtorch.sh");
        fs::copy(script, sandbox.path("repository/scripts/libtorch.sh")).unwrap();
        for tool in
            ["sh", "cat", "uname", "ln", "rm", "mkdir", "mv", "dirname", "grep", "sed", "tail"]
        {
            let found = ["/bin", "/usr/bin"].map(|bin| Path::new(bin).join(tool));
            let found = found.iter().find(|path| path.exists()).unwrap();
            std::os::unix::fs::symlink(found, sandbox.path("bin").join(tool)).unwrap();
        }
        if let Some(python3) = python3 {
            sandbox.set_python3(python3);
        }
        sandbox
    }

    fn set_python3(&self, script: &str) {
        fs::write(self.path("bin/python3"), script).unwrap();
        fs::set_permissions(self.path("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("scripts/libtorch.sh").args(arguments);
        command.current_dir(self.path("repository")).env("PATH", self.path("bin"));
        command.env_remove("LIBTORCH").env_remove("LIBTORCH_USE_PYTORCH");
        command.env("LIBRARIES", WITH_CUDA).env("REQUIRES", CUDA_13).env("SYMBOL", "");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// The calls that asked for torch itself.
    fn calls_for_torch(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.contains(" torch==")).collect()
    }

    fn has(&self, library: &str) -> bool {
        self.path("repository/.libtorch/torch/lib").join(library).exists()
    }

    /// Whether a program that links libtorch.so gets libtorch_cpu.so and nothing else.
    fn links_no_cuda(&self) -> bool {
        let library = self.path("repository/.libtorch/torch/lib/libtorch.so");
        fs::read_link(library).is_ok_and(|path| path == Path::new("libtorch_cpu.so"))
    }

    /// Files that begin with `.libtorch` but for a complete one.
    fn left_overs(&self) -> usize {
        let elements = fs::read_dir(self.path("repository")).unwrap().flatten();
        elements.filter(|e| e.file_name().to_string_lossy().starts_with(".libtorch.")).count()
    }
}

#[track_caller]
fn assert_one_line(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "should fail");
    assert_eq!(text.lines().count(), 1, "should be one line: {text}");
    assert!(text.starts_with("libtorch.sh: ") && text.contains(words), "{words:?} in {text}");
}

#[test]
fn it_is_there_once_and_then_nothing_is_done() {
    let sandbox = Sandbox::new(Some(PRETENDS));
    for _ in 0..2 {
        let output = sandbox.run(&[]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(sandbox.calls_for_torch().len(), 1);
    }
    assert!(sandbox.has("libtorch_cpu.so") && !sandbox.has("libtorch_cuda.so"));
    assert_eq!(sandbox.left_overs(), 0);
}

#[test]
fn variants_replace_each_other() {
    let sandbox = Sandbox::new(Some(PRETENDS));
    for (calls, variant, cuda) in [(1, "cpu", false), (2, "cuda", true), (3, "cpu", false)] {
        assert!(sandbox.run(&[variant]).status.success());
        assert_eq!(sandbox.calls_for_torch().len(), calls);
        assert_eq!(sandbox.has("libtorch_cuda.so"), cuda);
        assert_eq!(sandbox.links_no_cuda(), !cuda);
    }
    assert_one_line(&sandbox.run(&["gpu"]), "expected cpu or cuda, got 'gpu'");
}

#[test]
fn a_version_can_be_asked_for() {
    let sandbox = Sandbox::new(Some(PRETENDS));
    for (arguments, version) in
        [(&["cpu"][..], "2.13.0"), (&["cpu", "2.11.0"], "2.11.0"), (&["cuda", "2.11.0"], "2.11.0")]
    {
        assert!(sandbox.run(arguments).status.success());
        let asked = sandbox.calls_for_torch().pop().unwrap();
        assert!(asked.ends_with(&format!(" torch=={version}")), "{arguments:?}: {asked}");
        let noted = sandbox.path("repository/.libtorch/torch/build-version");
        assert_eq!(fs::read_to_string(noted).unwrap().trim(), version);
    }
    for version in ["2.11", "v2.11.0", "latest"] {
        let words = format!("expected a version such as 2.13.0, got '{version}'");
        assert_one_line(&sandbox.run(&["cpu", version]), &words);
    }
    assert_eq!(sandbox.calls_for_torch().len(), 3);
}

#[test]
fn the_cuda_runtime_is_the_one_that_torch_names() {
    for (requires, expected) in [
        (CUDA_13, "cuda-toolkit[cudart,cupti]==13.0.3"),
        (
            "Requires-Dist: nvidia-cuda-cupti-cu12==12.6.80; platform_system",
            "nvidia-cuda-cupti-cu12==12.6.80",
        ),
        (
            "Requires-Dist: nvidia-cuda-runtime-cu12 (==12.1.105) ; platform_system",
            "nvidia-cuda-runtime-cu12==12.1.105",
        ),
    ] {
        let sandbox = Sandbox::new(Some(PRETENDS));
        assert!(sandbox.command(&[]).env("REQUIRES", requires).output().unwrap().status.success());
        let asked = sandbox.calls().pop().unwrap();
        assert!(asked.ends_with(&format!(" {expected}")), "{requires}: {asked}");
    }
    let sandbox = Sandbox::new(Some(PRETENDS));
    let output = sandbox.command(&[]).env("REQUIRES", "Requires-Dist: sympy").output().unwrap();
    assert_one_line(&output, "torch 2.13.0 does not name its CUDA runtime");
}

#[test]
fn another_machine_has_its_own_wheel_and_folder() {
    for (machine, tag, library) in [
        ("linux-aarch64", "manylinux_2_28_aarch64", "libtorch_cpu.so"),
        ("macos-arm64", "macosx_11_0_arm64", "libtorch_cpu.dylib"),
    ] {
        let sandbox = Sandbox::new(Some(PRETENDS));
        let mut command = sandbox.command(&["cpu", "2.10.0", machine]);
        assert!(command.env("LIBRARIES", library).output().unwrap().status.success(), "{machine}");
        let calls = sandbox.calls();
        assert_eq!(calls.len(), 1, "no CUDA in it, so no CUDA runtime: {calls:?}");
        assert!(calls[0].contains(&format!("--platform {tag} ")), "{}", calls[0]);
        assert!(!calls[0].contains("x86_64"), "{}", calls[0]);
        let folder = sandbox.path("repository").join(format!(".libtorch-{machine}"));
        assert!(folder.join("torch/lib").join(library).exists());

        let mut command = sandbox.command(&["cuda", "2.10.0", machine]);
        let output = command.env("LIBRARIES", library).output().unwrap();
        assert_one_line(&output, "no CUDA for ");
    }
    let sandbox = Sandbox::new(Some(PRETENDS));
    assert_one_line(&sandbox.run(&["cpu", "2.10.0", "beos-ppc"]), "got 'beos-ppc'");
}

#[test]
fn an_old_abi_is_said_each_time() {
    let sandbox = Sandbox::new(Some(PRETENDS));
    for (symbol, old) in [
        ("_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcE", false),
        ("_ZN3c106detail14torchCheckFailEPKcS2_jRKSs", true),
    ] {
        let version = if old { "2.4.0" } else { "2.13.0" };
        for _ in 0..2 {
            let output = sandbox.command(&["cpu", version]).env("SYMBOL", symbol).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text.contains("export LIBTORCH_CXX11_ABI=0"), old, "{symbol}: {text}");
        }
    }
    assert_eq!(sandbox.calls_for_torch().len(), 2);
}

#[test]
fn a_libtorch_of_the_users_own_wins() {
    let sandbox = Sandbox::new(None);
    for name in ["LIBTORCH", "LIBTORCH_USE_PYTORCH"] {
        let output = sandbox.command(&[]).env(name, "/opt/mine").output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("{name} is set to '/opt/mine'")), "{text}");
    }
    assert!(!sandbox.path("repository/.libtorch").exists());
}

#[test]
fn each_failure_is_one_line_and_leaves_nothing() {
    let sandbox = Sandbox::new(None);
    assert_one_line(&sandbox.run(&[]), "python3 is missing; install it");
    for (python3, words) in [
        ("#!/bin/sh\necho 'No module named pip' >&2; exit 1\n".to_owned(), "python3 has no pip"),
        (fails_with("WARNING: Retrying: Temporary failure in name resolution"), "no connection"),
        (fails_with("OSError: [Errno 28] No space left on device"), "the disk is full"),
        (
            fails_with("ERROR: no such wheel"),
            "could not install torch 2.13.0: ERROR: no such wheel",
        ),
    ] {
        sandbox.set_python3(&python3);
        assert_one_line(&sandbox.run(&[]), words);
        assert!(!sandbox.path("repository/.libtorch").exists());
        assert_eq!(sandbox.left_overs(), 0);
    }
}

#[test]
fn an_interrupted_download_leaves_nothing_that_looks_finished() {
    let hangs = "#!/bin/sh\n[ \"$3\" = --version ] && exit 0\nkill -TERM $PPID\nexit 1\n";
    let sandbox = Sandbox::new(Some(hangs));
    assert!(!sandbox.run(&[]).status.success());
    assert!(!sandbox.path("repository/.libtorch").exists());
    assert_eq!(sandbox.left_overs(), 0);

    // What a kill that cannot be caught leaves is cleared away by the next run.
    fs::create_dir(sandbox.path("repository/.libtorch.partial.999999999")).unwrap();
    sandbox.set_python3(PRETENDS);
    assert!(sandbox.run(&[]).status.success());
    assert_eq!(sandbox.left_overs(), 0);
    assert!(sandbox.has("libtorch_cpu.so"));
}
