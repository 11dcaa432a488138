//! Patterns of English that a native reader stumbles over, as far as grep can find them.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::PathBuf;

use vmmkit_tests::{rust_files, workspace_root};

/// Sources and documents that people read.
fn texts() -> Vec<PathBuf> {
    let root = workspace_root();
    let mut files: Vec<_> = ["crates", "examples", "tests/src", "tests/tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .filter(|file| !file.ends_with("tests/tests/english.rs"))
        .collect();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        files.push(root.join(name));
    }
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    assert!(files.len() > 500, "{}", files.len());
    files
}

/// Whether a doc comment begins with a clause in the place of a noun: `/// What it is.`
fn begins_with_a_clause(line: &str) -> bool {
    let line = line.trim_start();
    let text = line
        .strip_prefix("/// ")
        .or_else(|| line.strip_prefix("//! "));
    let word = text.and_then(|text| text.split(' ').next());
    matches!(word, Some("What" | "Who" | "Whose" | "Whoever"))
}

/// Whether a noun is denied with "no": `it is no number`, rather than `it is not a number`.
fn denies_with_no(line: &str) -> bool {
    const FINE: &[&str] = &[
        "longer", "more", "larger", "less", "further", "such", "other", "better", "need", "use",
    ];
    // Quoted, it is talked about.
    if line.contains("\"is no ") {
        return false;
    }
    [" is no ", " are no ", " was no "].iter().any(|verb| {
        line.match_indices(verb).any(|(at, _)| {
            let before = line[..at].rsplit([' ', '(', '/', '"']).next();
            let after = line[at + verb.len()..].split(|c: char| !c.is_alphanumeric());
            let is_there = matches!(
                before.map(str::to_ascii_lowercase).as_deref(),
                Some("there" | "where" | "answer")
            );
            !is_there
                && !after
                    .clone()
                    .next()
                    .is_none_or(|word| word.is_empty() || FINE.contains(&word))
        })
    })
}

/// Whether a name or a text has "most" for a maximum.
fn has_most(line: &str) -> bool {
    let is_name =
        |word: &str| word == "MOST" || word.starts_with("MOST_") || word.ends_with("_MOST");
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(is_name) || line.contains("at the most")
}

#[test]
fn the_patterns_of_a_translation_are_not_used() {
    let mut found = Vec::new();
    for file in texts() {
        let text = fs::read_to_string(&file).unwrap();
        let is_rust = file.extension().is_some_and(|extension| extension == "rs");
        for (number, line) in text.lines().enumerate() {
            let fault = if is_rust && begins_with_a_clause(line) {
                "a doc comment begins with What or Who: name the thing"
            } else if denies_with_no(line) {
                "\"is no\": write \"is not a\""
            } else if is_rust && has_most(line) {
                "MOST: write MAX; \"at the most\": write \"at most\""
            } else {
                continue;
            };
            found.push(format!(
                "{}:{}: {fault}: {}",
                file.display(),
                number + 1,
                line.trim()
            ));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_patterns_are_found_where_they_are() {
    assert!(begins_with_a_clause("    /// What it is.") && !begins_with_a_clause("/// Whatever"));
    assert!(denies_with_no("it is no number") && denies_with_no("`x` are no names"));
    assert!(!denies_with_no("there is no number") && !denies_with_no("it is no longer there"));
    assert!(has_most("const MOST_X: u8") && has_most("X_MOST") && !has_most("ALMOST"));
}
