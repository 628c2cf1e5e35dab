//! The source forms layers, as `docs/design.md` and the tour in `lib.rs` say: a module imports only
//! modules of layers below its own, no two modules import each other, also not by way of others,
//! and no file is longer than 400 lines.
//!
//! A module is a file. It depends on every module whose path it writes as `crate::` or `super::`.
//! That a folder's `mod.rs` re-exports what stands in the folder makes it depend on nothing.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A name stands for a file, or for all files of a folder that have no place of
/// their own in the list.
const LAYERS: [&str; 27] = [
    "sync",
    "time",
    "types/ids",
    "types/status",
    "error",
    "time/parse",
    "process",
    "clock",
    "config",
    "types",
    "storage",
    "schema",
    "rules",
    "commit",
    "query",
    "verify",
    "keepalive",
    "waiting",
    "cancel",
    "store",
    "reader",
    "lease",
    "request",
    "worker",
    "builder",
    "testing",
    "lib",
];

const LONGEST: usize = 400;

/// A module: its path below `src` without its ending, a folder's `mod.rs` being the folder.
type Module = String;

fn sources() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = path.strip_prefix(&root).unwrap().with_extension("");
            let module = module.to_str().unwrap().trim_end_matches("/mod").to_string();
            sources.insert(module, fs::read_to_string(&path).unwrap());
        }
    }
    sources
}

/// Tests may use what they like: whole files of them, and what follows in a file.
fn is_test(module: &str) -> bool {
    let tests = ["tests", "explored", "golden", "scene"];
    module.split('/').any(|name| tests.contains(&name))
}

/// The code of a module, without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let text = text.split("\n#[cfg(all(test, ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap().to_string() + "\n").collect()
}

/// The paths that a module writes, as modules with an item behind.
fn paths(module: &str, code: &str) -> Vec<Vec<String>> {
    let parent =
        |module: &str| module.rsplit_once('/').map_or("", |(parent, _)| parent).to_string();
    let code: Vec<&str> = code.split_inclusive(';').collect();
    let mut found = Vec::new();
    for statement in code {
        let start = statement.trim_start();
        if start.starts_with("pub use ") || start.starts_with("pub(crate) use ") {
            continue;
        }
        for (word, base) in [("crate::", String::new()), ("super::", parent(module))] {
            for (at, _) in statement.match_indices(word) {
                let before = statement[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let base = base.split('/').filter(|name| !name.is_empty()).map(String::from);
                let base: Vec<String> = base.collect();
                let rest = &statement[at + word.len()..];
                found.extend(named(rest).into_iter().map(|names| [base.clone(), names].concat()));
            }
        }
    }
    found
}

/// The names that a path leads through: all of those in braces, one level deep.
fn named(path: &str) -> Vec<Vec<String>> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (stem, rest) = path.split_at(end.unwrap_or(path.len()));
    let stem: Vec<String> =
        stem.split("::").filter(|name| !name.is_empty()).map(String::from).collect();
    match rest.strip_prefix('{') {
        Some(list) => {
            let list = list.split('}').next().unwrap();
            let names = list.split(',').map(|name| name.trim().split("::").next().unwrap().trim());
            let names = names.filter(|name| !name.is_empty() && *name != "self");
            names.map(|name| [stem.clone(), vec![name.to_string()]].concat()).collect()
        }
        None => vec![stem],
    }
}

fn dependencies() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    let mut dependencies = BTreeMap::new();
    for (module, text) in sources.iter().filter(|(module, _)| !is_test(module)) {
        let mut on = BTreeSet::new();
        for mut names in paths(module, &code(text)) {
            while !names.is_empty() && !sources.contains_key(&names.join("/")) {
                names.pop();
            }
            if !names.is_empty() && names.join("/") != *module {
                on.insert(names.join("/"));
            }
        }
        dependencies.insert(module.clone(), on);
    }
    dependencies
}

fn layer(module: &str) -> usize {
    let own = LAYERS.iter().position(|layer| *layer == module);
    let folder = module.split('/').next().unwrap();
    let place = own.or_else(|| LAYERS.iter().position(|layer| *layer == folder));
    place.unwrap_or_else(|| panic!("{module} has no layer: give it one"))
}

#[test]
fn every_module_imports_only_those_of_layers_below() {
    for (module, on) in dependencies() {
        for other in on {
            assert!(layer(&other) <= layer(&module), "{module} imports {other}, which is above it");
        }
    }
}

#[test]
fn no_two_modules_import_each_other() {
    let dependencies = dependencies();
    for start in dependencies.keys() {
        let mut reached: BTreeSet<&Module> = BTreeSet::new();
        let mut next: Vec<&Module> = dependencies[start].iter().collect();
        while let Some(module) = next.pop() {
            assert_ne!(module, start, "{start} imports itself by way of {reached:?}");
            if reached.insert(module) {
                next.extend(dependencies.get(module).into_iter().flatten());
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for (module, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{module} has {lines} lines");
    }
}

#[test]
fn imports_are_found() {
    let dependencies = dependencies();
    let on = |module: &str| &dependencies[module];
    assert!(on("rules/fencing").contains("rules/index") && on("rules/fencing").contains("error"));
    assert!(on("commit/flusher").contains("commit"), "by way of super");
    assert!(on("rules/retention").contains("rules/tiers"), "from a list in braces");
}
