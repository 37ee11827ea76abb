//! Imports run one way: src/lib.rs lists the modules in groups ("rooms" below), each imports only from groups
//! further down, and the files of a module's directory have no circular imports.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::files;

/// A file of src/ by its module path: `["rng", "counter"]`; a directory's mod.rs by that of the directory.
type Module = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// A file's code, without comments, whose links are no imports, and without what an inline module, such as tests,
/// imports of its own file.
fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let is_code =
        |line: &&str| !line.trim_start().starts_with("//") && !line.starts_with("    use super::");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All modules but the root and tests, with their code.
fn modules() -> BTreeMap<Module, String> {
    let module = |path: &Path| {
        let path = path.strip_prefix(src()).unwrap().with_extension("");
        let mut names: Module = path.iter().map(|name| name.to_str().unwrap().into()).collect();
        if names.last().is_some_and(|name| name == "mod") {
            names.pop();
        }
        names
    };
    let all = files(&src()).into_iter().map(|path| (module(&path), source(&path)));
    let is_tested = |module: &Module| module != &["lib"] && !module.contains(&"tests".into());
    all.filter(|(module, _)| is_tested(module)).collect()
}

/// The paths that follow `prefix` in a module's code, up to a group or a name.
fn paths_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = Module> + 'a {
    code.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
        rest[..end.unwrap_or(rest.len())].split("::").map(String::from).collect()
    })
}

/// What a module names in the crate, as full paths.
fn named(module: &Module, code: &str) -> Vec<Module> {
    let parent = &module[..module.len() - 1];
    let supers = paths_after(code, "use super::").map(|path| [parent, &path].concat());
    let own = paths_after(code, "use self::").map(|path| [&module[..], &path].concat());
    paths_after(code, "crate::").chain(supers).chain(own).collect()
}

fn imports() -> Imports {
    let modules = modules();
    let file_of = |path: &Module| {
        let prefixes = (1..=path.len()).rev().map(|n| path[..n].to_vec());
        prefixes.into_iter().find(|prefix| modules.contains_key(prefix))
    };
    let imports_of = |module: &Module, code: &str| {
        let files = named(module, code).into_iter().map(|path| {
            file_of(&path).unwrap_or_else(|| {
                panic!(
                    "{module:?} imports {path:?} from lib.rs, not from the module that defines it"
                )
            })
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
    for (module, imported) in imports() {
        for other in imported.iter().filter(|other| other[0] != module[0]) {
            assert!(room(&module) < room(other), "{module:?} imports {other:?}, not further down");
        }
    }
}

#[test]
fn no_imports_go_in_a_circle() {
    let mut left = imports();
    loop {
        let before = left.len();
        let names: BTreeSet<Module> = left.keys().cloned().collect();
        // Whoever imports nothing that is left is in no circle.
        left.retain(|_, imported| !imported.is_disjoint(&names));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "a circle among {:?}", left.keys());
}

/// The tests above would pass over a tree that they cannot read.
#[test]
fn the_imports_are_those_that_are_there() {
    let imports = imports();
    let has = |from: &[&str], to: &[&str]| {
        let module = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Module>();
        imports[&module(from)].contains(&module(to))
    };
    assert!(has(&["dropout"], &["noise"]));
    assert!(has(&["draw"], &["rng", "counter"]));
    assert!(has(&["rng", "stream"], &["rng", "counter"]));
    assert!(has(&["cpu"], &["cpu", "bernoulli"]));
    assert!(!has(&["noise"], &["dropout"]));
}
