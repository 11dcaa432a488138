//! Each crate of the library can leave the workspace: what a registry shows and needs is in its folder,
//! and nothing reaches out of it. `tools/package` packs and builds all of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vmmkit_tests::{cargo, crate_folders, rust_files, workspace_root};

#[path = "publishing/closed.rs"]
mod closed;

/// Set, the READMEs are written rather than compared.
const WRITE_READMES: &str = "VMMKIT_WRITE_READMES";

/// The folders of the crates, in order.
fn crates() -> Vec<PathBuf> {
    let folders = crate_folders().unwrap();
    assert!(folders.len() > 15, "{folders:?}");
    folders
}

fn manifest(folder: &Path) -> toml::Table {
    let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    text.parse().unwrap()
}

/// The first paragraphs and the example of a crate's documentation, as Markdown that stands alone.
fn readme(folder: &Path) -> String {
    let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut text = String::new();
    let mut is_code = false;
    for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
        if let Some(language) = line.strip_prefix("```") {
            is_code = !is_code;
            let is_rust = is_code && matches!(language, "" | "no_run" | "ignore");
            text += if is_rust { "```rust" } else { line };
        } else if is_code && (line == "#" || line.starts_with("# ")) {
            // Rustdoc hides these lines.
            continue;
        } else if is_code {
            text += line;
        } else {
            text += &without_links(line);
        }
        text.push('\n');
    }
    let manifest = manifest(folder);
    let name = manifest["package"]["name"].as_str().unwrap();
    format!(
        "# {name}\n\n{}\n\nPart of [vmmkit](https://github.com/vmmkit/vmmkit), crates to build virtual machine monitors with. Licensed under \
         Apache-2.0 or MIT, at your option.\n",
        text.trim_end()
    )
}

/// `line` with the text alone of each link to an item, of which Markdown knows nothing.
fn without_links(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        text += before;
        let Some((inner, behind)) = after.split_once(']') else {
            return text + "[" + after;
        };
        match behind.strip_prefix('(').and_then(|to| to.split_once(')')) {
            Some((target, behind)) if target.starts_with("http") => {
                text += &format!("[{inner}]({target})");
                rest = behind;
            }
            Some((_, behind)) => {
                text += inner;
                rest = behind;
            }
            None => {
                text += inner;
                rest = behind;
            }
        }
    }
    text + rest
}

#[test]
fn each_crate_has_the_readme_of_its_documentation() {
    for folder in crates() {
        let path = folder.join("README.md");
        let made = readme(&folder);
        if std::env::var_os(WRITE_READMES).is_some() {
            fs::write(&path, made).unwrap();
            continue;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == made,
            "{} is not what src/lib.rs says: {WRITE_READMES}=1 cargo test -p vmmkit-tests --test publishing",
            path.display()
        );
        assert!(made.contains("```"), "{} has no example", folder.display());
    }
    assert_eq!(
        without_links("a [`B`], [c](d) [e](https://f)."),
        "a `B`, c [e](https://f)."
    );
}

#[test]
fn each_crate_has_its_licences_and_what_a_registry_shows() {
    for folder in crates() {
        let at = folder.display();
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let text = fs::read(folder.join(licence)).expect(licence);
            let original = fs::read(workspace_root().join(licence)).unwrap();
            assert!(text == original, "{at}: {licence} is another");
        }
        let manifest = manifest(&folder);
        let package = &manifest["package"];
        for (list, max) in [("keywords", 5), ("categories", 5)] {
            let list = package.get(list).and_then(toml::Value::as_array);
            let count = list.map_or(0, Vec::len);
            assert!((1..=max).contains(&count), "{at}: {count} of them");
        }
        for keyword in package["keywords"].as_array().unwrap() {
            assert!(keyword.as_str().unwrap().len() <= 20, "{at}: {keyword}");
        }
        let description = package["description"].as_str().unwrap();
        assert!(
            !description.is_empty() && package.get("readme").is_some(),
            "{at}"
        );
        let docs = &package["metadata"]["docs"]["rs"];
        assert_eq!(docs["all-features"].as_bool(), Some(true), "{at}");
    }
}

#[test]
fn no_crate_reaches_out_of_its_folder() {
    for folder in crates() {
        for file in rust_files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            let depth = file.strip_prefix(&folder).unwrap().components().count() - 1;
            for (number, line) in text.lines().enumerate() {
                let Some((_, named)) = line
                    .split_once("include_str!(")
                    .or_else(|| line.split_once("include_bytes!("))
                    .or_else(|| line.split_once("#[path"))
                else {
                    continue;
                };
                let ups = named.matches("../").count();
                if ups > depth {
                    panic!("{}:{}: {}", file.display(), number + 1, line.trim());
                }
            }
        }
        let manifest = manifest(&folder);
        for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
            let is_local = dependency.get("path").is_some();
            assert!(!is_local, "{}: {name} by a path alone", folder.display());
        }
    }
}

/// Set, the table of dependencies is written rather than compared.
const WRITE_DEPENDENCIES: &str = "VMMKIT_WRITE_DEPENDENCIES";

/// How many crates `package` is built from besides itself, with its default features or without.
fn dependencies(package: &str, features: &[&str]) -> usize {
    let arguments = [
        &["tree", "--edges", "normal", "--prefix", "none"][..],
        &["--package", package],
        features,
    ];
    let lines = cargo(&arguments.concat()).unwrap();
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
    assert!(names.contains(package), "{package}: {names:?}");
    names.len() - 1
}

#[test]
fn the_table_of_dependencies_is_true() {
    let mut table =
        String::from("| crate | by default | without default features |\n| - | - | - |\n");
    for folder in crates() {
        let manifest = manifest(&folder);
        let package = manifest["package"]["name"].as_str().unwrap();
        let all = dependencies(package, &[]);
        let least = dependencies(package, &["--no-default-features"]);
        table += &format!("| {package} | {all} | {least} |\n");
    }
    let path = workspace_root().join("docs/dependencies.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, shown) = text.split_once("| crate |").unwrap();
    if std::env::var_os(WRITE_DEPENDENCIES).is_some() {
        fs::write(&path, [before, &table].concat()).unwrap();
        return;
    }
    let shown = format!("| crate |{shown}");
    assert_eq!(
        shown, table,
        "docs/dependencies.md: {WRITE_DEPENDENCIES}=1 cargo test -p vmmkit-tests --test publishing"
    );
}

#[test]
fn the_facade_says_the_versions_of_the_crates_it_shows() {
    let path = workspace_root().join("crates/vmmkit/src/third_party.rs");
    let text = fs::read_to_string(path).unwrap();
    let workspace = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = workspace.parse().unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let mut rows = rows.map(|row| row.split(" | ")).skip(2);
    let mut count = 0;
    while let Some([name, version]) = rows.next().map(|mut row| [row.next(), row.next()]) {
        let dependency = &workspace["workspace"]["dependencies"][name.unwrap()];
        let required = dependency.get("version").unwrap_or(dependency).as_str();
        assert_eq!(version, required, "{name:?} in third_party.rs");
        count += 1;
    }
    assert!(count > 5, "{count}");
    for line in text.lines().filter(|line| line.starts_with("pub use")) {
        let shown = line.rsplit("::").next().unwrap();
        for name in shown.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let row = format!("| {} |", name.replace('_', "-"));
            assert!(
                name.is_empty() || text.contains(&row),
                "no version of {name}"
            );
        }
    }
}

/// A version of Rust, such as 1.91 or 1.91.1.
fn rust_version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

/// That the code itself needs no more is Clippy's to say: `incompatible_msrv`, which goes by the same field.
#[test]
fn rust_version_is_enough_for_every_dependency() {
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let metadata = [&["metadata", "--format-version", "1"], &platform[..]].concat();
    let metadata = cargo(&metadata).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    let ours = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
    let ours: toml::Table = ours.parse().unwrap();
    let ours = ours["workspace"]["package"]["rust-version"].as_str();
    let ours = rust_version(ours.unwrap());
    for package in packages {
        // Those without the field say nothing.
        let Some(needed) = package["rust_version"].as_str() else {
            continue;
        };
        let (name, version) = (&package["name"], &package["version"]);
        assert!(
            rust_version(needed) <= ours,
            "{name} {version} needs Rust {needed}, and Cargo.toml promises {ours:?}"
        );
    }
}
