//! Files and functions stay readable: at most 400 lines of production code a file and 80 a
//! function, and the composing crate under 2,500 lines in all.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::Path;

use vmmkit_tests::{rust_files, workspace_root};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 80;
const VMM_LINES: usize = 2500;
/// A second front end holds only what is its own.
const FIRECRACKER_LINES: usize = 4000;

/// Files that may be longer, each with its reason.
const LONGER_FILES: &[(&str, &str)] = &[];

/// Lines before the unit tests of a file: none for a file that is all tests.
fn production(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let is_test_file = path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests");
    if is_test_file {
        return Vec::new();
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines
        .windows(2)
        .position(|pair| pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod "))
        .unwrap_or(lines.len());
    lines[..end].to_vec()
}

fn sources() -> Vec<std::path::PathBuf> {
    let root = workspace_root();
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        files.extend(rust_files(&entry.unwrap().path().join("src")));
    }
    for example in ["vmmkit", "vmmkit-firecracker"] {
        files.extend(rust_files(&root.join("examples").join(example).join("src")));
    }
    files
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let root = workspace_root();
    let mut too_long = Vec::new();
    for file in sources() {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let lines = production(&file).len();
        let excused = LONGER_FILES.iter().any(|(path, _)| *path == name);
        if lines > FILE_LINES && !excused {
            too_long.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(
        too_long.is_empty(),
        "over {FILE_LINES} lines: {too_long:#?}"
    );
}

#[test]
fn no_function_is_longer_than_its_limit() {
    let root = workspace_root();
    let mut too_long = Vec::new();
    for file in sources() {
        let lines = production(&file);
        let mut start: Option<(usize, usize)> = None;
        for (number, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let opens = code.starts_with("fn ")
                || code.contains(" fn ")
                    && (code.starts_with("pub")
                        || code.starts_with("const")
                        || code.starts_with("unsafe")
                        || code.starts_with("extern"));
            if opens && !code.ends_with(';') {
                start = Some((number, indent));
            } else if let Some((first, depth)) = start
                && indent == depth
                && code.starts_with('}')
            {
                let length = number + 1 - first;
                if length > FUNCTION_LINES {
                    let name = file.strip_prefix(&root).unwrap().display().to_string();
                    too_long.push(format!("{name}:{}: {length} lines", first + 1));
                }
                start = None;
            }
        }
    }
    assert!(
        too_long.is_empty(),
        "over {FUNCTION_LINES} lines: {too_long:#?}"
    );
}

#[test]
fn the_composing_crate_stays_thin() {
    let files = rust_files(&workspace_root().join("crates/vmm/src"));
    let lines: usize = files.iter().map(|file| production(file).len()).sum();
    assert!(
        lines < VMM_LINES,
        "crates/vmm has {lines} lines of production code"
    );
}

#[test]
fn the_second_front_end_holds_only_what_is_its_own() {
    let files = rust_files(&workspace_root().join("examples/vmmkit-firecracker/src"));
    let lines: usize = files.iter().map(|file| production(file).len()).sum();
    assert!(
        lines < FIRECRACKER_LINES,
        "examples/vmmkit-firecracker has {lines} lines of production code"
    );
}
