//! Imports run one way: src/lib.rs lists the modules in groups ("rooms" below), each imports only from groups
//! further down, and no imports go in a circle, in the library, the bench and the examples.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::files;

/// A file by its module path: `["rng", "counter"]`; a directory's mod.rs by that of the directory.
type Module = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// A file's code, without comments, whose links are no imports, without its tests, and without what another inline module
/// imports of its own file.
fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let is_code =
        |line: &&str| !line.trim_start().starts_with("//") && !line.starts_with("    use super::");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn src() -> PathBuf {
    repository().join("src")
}

/// The directories of all crates of the repository: those of a main.rs or lib.rs.
fn crates() -> BTreeSet<PathBuf> {
    let folders = ["src", "benches", "examples"].map(|folder| files(&repository().join(folder)));
    let is_root = |path: &&PathBuf| path.ends_with("main.rs") || path.ends_with("lib.rs");
    // The repository may itself lie in a folder of that name.
    let is_built = |path: &Path| {
        let path = path.strip_prefix(repository()).expect("a file of the repository");
        path.iter().any(|name| name == "target")
    };
    let all = folders.iter().flatten().filter(|path| !is_built(path)).filter(is_root);
    all.map(|path| path.parent().unwrap().to_owned()).collect()
}

/// All modules of a crate but its root and tests, with their code.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let module = |path: &Path| {
        let path = path.strip_prefix(root).unwrap().with_extension("");
        let mut names: Module = path.iter().map(|name| name.to_str().unwrap().into()).collect();
        if names.last().is_some_and(|name| name == "mod") {
            names.pop();
        }
        names
    };
    let all = files(root).into_iter().map(|path| (module(&path), source(&path)));
    let is_root = |module: &Module| module == &["lib"] || module == &["main"];
    let is_tested = |module: &Module| !is_root(module) && !module.contains(&"tests".into());
    all.filter(|(module, _)| is_tested(module)).collect()
}

/// The paths that follow `prefix` in a module's code, up to a name; each of a group's.
fn paths_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = Module> + 'a {
    code.split(prefix).skip(1).flat_map(|rest| {
        let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        group
            .unwrap_or(rest)
            .split(',')
            .take(if group.is_some() { usize::MAX } else { 1 })
            .map(path)
    })
}

/// The path that a text begins with.
fn path(text: &str) -> Module {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    text[..end.unwrap_or(text.len())].split("::").map(String::from).collect()
}

/// What a module names in the crate, as full paths.
fn named(module: &Module, code: &str) -> Vec<Module> {
    let parent = &module[..module.len() - 1];
    let supers = paths_after(code, "use super::").map(|path| [parent, &path].concat());
    let own = paths_after(code, "use self::").map(|path| [&module[..], &path].concat());
    paths_after(code, "crate::").chain(supers).chain(own).collect()
}

fn imports(root: &Path) -> Imports {
    let modules = modules(root);
    let file_of = |path: &Module| {
        let prefixes = (1..=path.len()).rev().map(|n| path[..n].to_vec());
        prefixes.into_iter().find(|prefix| modules.contains_key(prefix))
    };
    let roots = ["lib.rs", "main.rs"].map(|name| root.join(name));
    let root_code: String =
        roots.iter().filter(|file| file.exists()).map(|file| source(file)).collect();
    // A module of the root's that is a file elsewhere.
    let is_elsewhere = |path: &Module| root_code.contains(&format!("\nmod {};", path[0]));
    let imports_of = |module: &Module, code: &str| {
        let files = named(module, code).into_iter().filter_map(|path| {
            let file = file_of(&path);
            assert!(
                file.is_some() || is_elsewhere(&path),
                "{module:?} imports {path:?} from the root of {}, not from the module that defines it",
                root.display()
            );
            file
        });
        files.filter(|file| file != module).collect()
    };
    modules.iter().map(|(module, code)| (module.clone(), imports_of(module, code))).collect()
}

/// In which room of lib.rs's list each of its modules is: a comment begins a room.
fn rooms() -> BTreeMap<String, usize> {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let mut room = 0;
    let mut rooms = BTreeMap::new();
    for line in lib.lines() {
        room += usize::from(line.starts_with("// "));
        if let Some(name) = line.trim_start_matches("pub ").strip_prefix("mod ") {
            rooms.insert(name.trim_end_matches(';').into(), room);
        }
    }
    rooms
}

#[test]
fn each_module_imports_only_from_rooms_further_down_in_lib_rs() {
    let rooms = rooms();
    let room = |module: &Module| rooms.get(&module[0]).expect("lib.rs lists every module");
    for (module, imported) in imports(&src()) {
        for other in imported.iter().filter(|other| other[0] != module[0]) {
            assert!(room(&module) < room(other), "{module:?} imports {other:?}, not further down");
        }
    }
}

#[test]
fn no_imports_go_in_a_circle() {
    for root in crates() {
        let mut left = imports(&root);
        loop {
            let before = left.len();
            let names: BTreeSet<Module> = left.keys().cloned().collect();
            // Whoever imports nothing that is left is in no circle.
            left.retain(|_, imported| !imported.is_disjoint(&names));
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{}: a circle among {:?}", root.display(), left.keys());
    }
}

/// The tests above would pass over a tree that they cannot read.
#[test]
fn the_imports_are_those_that_are_there() {
    let imports = imports(&src());
    let has = |from: &[&str], to: &[&str]| {
        let module = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Module>();
        imports[&module(from)].contains(&module(to))
    };
    assert!(has(&["dropout"], &["noise"]));
    assert!(has(&["draw"], &["rng", "counter"]));
    assert!(has(&["rng", "stream"], &["rng", "counter"]));
    assert!(has(&["cpu"], &["cpu", "bernoulli"]));
    assert!(!has(&["noise"], &["dropout"]));
    let crates = crates();
    for root in ["src", "benches/speed", "examples/masks", "examples/papers/src"] {
        assert!(crates.contains(&repository().join(root)), "{root} is not in {crates:?}");
    }
}
