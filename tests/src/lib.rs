//! Whole-guest tests and the gates of the workspace. This is not a library for others: the tests in
//! `tests/` share what is here. Start with `tests/layering.rs` for the rules of the tree, and with
//! [`workspace_root`] to find it.
#![forbid(unsafe_code)]

pub mod disk;
pub mod diskless;
pub mod gdb;
pub mod guest;
pub mod http;
pub mod network;
pub mod package;
pub mod passt;
pub mod process;
pub mod scripted;
pub mod shell;
pub mod stream;
pub mod terminal;
pub mod virtiofsd;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Every Rust file below `folder`, in a fixed order.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
