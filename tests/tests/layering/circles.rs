//! Files that import each other, be it through others, are one file in truth: neither can be read, moved or
//! tested alone. A module and what is below it are one subject, and may.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vmmkit_tests::{crate_folders, rust_files, workspace_root};

/// The path of a module; none is the root of the crate.
type Module = Vec<String>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for folder in crate_folders().unwrap() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for circle in circles_of(&modules(&folder.join("src"))) {
            circles.push(format!("{name}: {}", circle.join(", ")));
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The command's files do in parts, and those parts must not grow.
#[test]
fn the_circles_of_the_command_do_not_grow() {
    let circles = circles_of(&modules(&workspace_root().join("examples/vmmkit/src")));
    let count: usize = circles.iter().map(Vec::len).sum();
    assert!(count <= COMMAND_CIRCLE, "{circles:#?}");
    assert!(count == COMMAND_CIRCLE, "fewer: lower COMMAND_CIRCLE");
}

/// How many of its files are in a circle.
const COMMAND_CIRCLE: usize = 15;

#[test]
fn a_circle_is_found_through_groups_and_paths() {
    let files = [
        ("a", "use crate::{b::Thing, other};"),
        ("b", "fn f() { super::c::call() }"),
        ("c", "// use crate::d;\nuse super::a::{self, X};"),
        (
            "d",
            "use crate::a;\n#[cfg(test)]\nmod tests { use crate::e; }",
        ),
        ("e", "use super::d;"),
        ("f::g", "use super::super::f::h;"),
        ("f::h", "use super::g;"),
    ];
    let files = files.map(|(name, text)| {
        let module: Module = name.split("::").map(str::to_owned).collect();
        (module, text.to_owned())
    });
    let circles = circles_of(&files.into_iter().collect());
    assert_eq!(circles, [vec!["a", "b", "c"], vec!["f::g", "f::h"]]);
}

/// The modules of the crate at `root` with their text, without tests and comments.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in rust_files(root) {
        let path = file.strip_prefix(root).unwrap().with_extension("");
        let mut module: Module = path
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module
            .iter()
            .any(|part| part == "tests" || part == "testing")
        {
            continue;
        }
        let last = module.last().map(String::as_str);
        if last == Some("mod") || module.len() == 1 && matches!(last, Some("lib" | "main")) {
            module.pop();
        }
        modules.insert(module, fs::read_to_string(&file).unwrap());
    }
    modules
}

/// Which files import each other.
fn circles_of(modules: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let imports: BTreeMap<_, _> = modules
        .iter()
        .map(|(module, text)| (module, imports(module, text, modules)))
        .collect();
    let reach = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = imports[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(&imports[module]);
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = modules
        .keys()
        .map(|module| (module, reach(module)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, of) in &reached {
        let circle = of.iter().filter(|other| reached[**other].contains(module));
        let circle: Vec<_> = circle.map(|other| other.join("::")).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// The other files that `module` names, but for those above and below it.
fn imports(module: &Module, text: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    let code: Vec<_> = code.collect();
    let code = code.join(" ");
    let mut found = BTreeSet::new();
    for root in ["crate", "super"] {
        for (start, _) in code.match_indices(&format!("{root}::")) {
            let before = code[..start].chars().next_back();
            if before.is_some_and(|it| it.is_alphanumeric() || "_:$".contains(it)) {
                continue;
            }
            for path in paths(&code[start..]) {
                let target = resolve(module, &path, modules);
                let is_related = target.starts_with(module) || module.starts_with(&target);
                if !is_related {
                    found.insert(target);
                }
            }
        }
    }
    found
}

/// The file of `path`, as `module` writes it.
fn resolve(module: &Module, path: &str, modules: &BTreeMap<Module, String>) -> Module {
    let mut target = Module::new();
    for (index, part) in path.split("::").enumerate() {
        match part {
            "crate" => target.clear(),
            "super" => {
                if index == 0 {
                    target = module.clone();
                }
                target.pop();
            }
            part => target.push(part.to_owned()),
        }
    }
    while !target.is_empty() && !modules.contains_key(&target) {
        target.pop();
    }
    target
}

/// The paths that begin `code`: several where it goes on with a group.
fn paths(code: &str) -> Vec<String> {
    let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == ':';
    let end = code.find(|it| !is_part(it)).unwrap_or(code.len());
    let (path, rest) = code.split_at(end);
    let Some(group) = path.strip_suffix("::").and_then(|_| rest.strip_prefix('{')) else {
        return vec![path.to_owned()];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                for inner in paths(group[start..at].trim()) {
                    found.push(format!("{path}{inner}"));
                }
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}
