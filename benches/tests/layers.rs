//! The modules of the benchmarks form layers: each imports only modules below it, no two import
//! each other, and no file is longer than 400 lines.
//!
//! A module is a file. It depends on every module whose path it writes as `crate::` or `super::`,
//! and on each child that it declares. The order of the top modules is that of the list in
//! `lib.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const LONGEST: usize = 400;

/// A module by the names on the way to it from the root, which has none.
type Module = Vec<String>;
type Dependencies = BTreeMap<Module, BTreeSet<Module>>;

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The modules of the library and their text, without comments and without tests.
fn modules() -> BTreeMap<Module, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_library =
        |path: &Path| path.starts_with(&source) && !path.starts_with(source.join("bin"));
    files()
        .into_iter()
        .filter(|path| of_library(path))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (module_at(path.strip_prefix(&source).unwrap()), code(&text))
        })
        .collect()
}

fn module_at(path: &Path) -> Module {
    let path = path.with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_string());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_string() + "\n")
        .collect()
}

fn dependencies(modules: &BTreeMap<Module, String>) -> Dependencies {
    let known: BTreeSet<Module> = modules.keys().cloned().collect();
    let of = |module: &Module, text: &str| {
        let mut found: BTreeSet<Module> =
            paths(module, text).into_iter().map(|path| nearest(&path, &known)).collect();
        found.extend(
            known
                .iter()
                .filter(|child| child.split_last().map(|(_, up)| up) == Some(module))
                .cloned(),
        );
        found.remove(module);
        found
    };
    modules.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

/// The module that a path leads to: what follows its name is an item in it.
fn nearest(path: &[String], known: &BTreeSet<Module>) -> Module {
    let lengths = (0..=path.len()).rev();
    lengths.map(|length| path[..length].to_vec()).find(|path| known.contains(path)).unwrap()
}

/// Every path from the root that the text of a module writes.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if inside {
            continue;
        }
        let mut rest = &text[at + word.len()..];
        let mut base = if word == "crate::" { Vec::new() } else { parent(module) };
        while let Some(further) = rest.strip_prefix("super::") {
            base.pop();
            rest = further;
        }
        tree(&mut rest, &base, &mut found);
    }
    found
}

fn parent(module: &Module) -> Module {
    module.split_last().map_or_else(Vec::new, |(_, parent)| parent.to_vec())
}

/// Reads `name`, `name::tree` or `{tree, tree}`, and collects the paths that end in it.
fn tree(rest: &mut &str, base: &[String], found: &mut Vec<Module>) {
    *rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('{') {
        *rest = inner;
        loop {
            tree(rest, base, found);
            // A renamed import goes on with `as name`.
            let end = rest.find([',', '}']).unwrap();
            let last = rest[end..].starts_with('}');
            *rest = rest[end + 1..].trim_start();
            if last || rest.starts_with('}') {
                return;
            }
        }
    }
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, after) = rest.split_at(length);
    let path: Module = base.iter().cloned().chain([name.to_string()]).collect();
    *rest = after;
    match after.strip_prefix("::") {
        Some(inner) => {
            *rest = inner;
            tree(rest, &path, found);
        }
        None => found.push(path),
    }
}

/// Modules each of which depends on the next, and the last on the first.
fn circle(dependencies: &Dependencies) -> Option<Vec<Module>> {
    fn visit(
        module: &Module,
        all: &Dependencies,
        path: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(first) = path.iter().position(|earlier| earlier == module) {
            path.drain(..first);
            return true;
        }
        if done.contains(module) {
            return false;
        }
        path.push(module.clone());
        if all.get(module).into_iter().flatten().any(|next| visit(next, all, path, done)) {
            return true;
        }
        path.pop();
        done.insert(module.clone());
        false
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    dependencies
        .keys()
        .any(|module| visit(module, dependencies, &mut path, &mut done))
        .then_some(path)
}

fn name(module: &Module) -> String {
    if module.is_empty() { "lib.rs".to_string() } else { module.join("::") }
}

#[test]
fn no_modules_import_each_other() {
    let circle = circle(&dependencies(&modules()));

    let names: Option<Vec<String>> = circle.map(|circle| circle.iter().map(name).collect());
    assert_eq!(names, None, "each of these imports the next");
}

#[test]
fn the_list_of_modules_is_in_the_order_of_the_layers() {
    let front_page = include_str!("../src/lib.rs");
    let listed: Vec<&str> = front_page
        .lines()
        .filter(|line| line.starts_with("//! -") || line.starts_with("//!   "))
        .collect();
    let listed = listed.join("\n");
    let order: Vec<&str> =
        listed.split("[`").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    let place = |module: &Module| order.iter().position(|name| *name == module[0]);

    for (module, used) in dependencies(&modules()).iter().filter(|(module, _)| !module.is_empty()) {
        assert!(place(module).is_some(), "{} is not in the list", name(module));
        for used in used.iter().filter(|used| used.first() != module.first()) {
            assert!(place(used) < place(module), "{} imports {}", name(module), name(used));
        }
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for file in files() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();

        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let module = module_at(Path::new("a/b.rs"));
    let text = code(
        "use crate::x::{y::{Z, W as V}, q};\n\
         use super::{c, d::E};\n\
         // use crate::comment;\n\
         fn f() -> super::super::g::H { crate::i::j() }\n\
         #[cfg(test)]\nmod tests {\n    use super::*;\n}\n",
    );

    let mut found: Vec<String> = paths(&module, &text).iter().map(name).collect();
    found.sort();

    assert_eq!(found, ["a::c", "a::d::E", "g::H", "i::j", "x::q", "x::y::W", "x::y::Z"]);
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_string()];
    let mut all: Dependencies =
        ["a", "b", "c", "d"].map(|name| (module(name), BTreeSet::new())).into();
    all.get_mut(&module("a")).unwrap().insert(module("b"));
    all.get_mut(&module("b")).unwrap().insert(module("c"));
    all.get_mut(&module("c")).unwrap().insert(module("d"));
    assert_eq!(circle(&all), None);

    all.get_mut(&module("d")).unwrap().insert(module("b"));

    assert_eq!(circle(&all), Some(vec![module("b"), module("c"), module("d")]));
}
