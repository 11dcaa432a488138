//! Whole-guest tests and the gates of the workspace. This is not a library for others: the tests in
//! `tests/` share what is here. Start with `tests/layering.rs` for the rules of the tree, and with
//! [`workspace_root`] to find it.
#![forbid(unsafe_code)]

pub mod disk;
pub mod diskless;
pub mod gdb;
pub mod guest;
pub mod http;
pub mod micro;
pub mod network;
pub mod package;
pub mod passt;
pub mod process;
pub mod scripted;
pub mod shell;
pub mod stream;
pub mod terminal;
pub mod virtiofsd;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// The folders of the library's crates, in order.
///
/// # Errors
/// The host's.
pub fn crate_folders() -> io::Result<Vec<PathBuf>> {
    let folders = std::fs::read_dir(workspace_root().join("crates"))?;
    let folders = folders.map(|entry| entry.map(|entry| entry.path()));
    let mut folders = folders.collect::<io::Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders)
}

/// The output of cargo with `arguments`, in the workspace and without the network.
///
/// # Errors
/// The host's, or what cargo wrote to stderr where it failed.
pub fn cargo(arguments: &[&str]) -> io::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace_root())
        .args(arguments)
        .args(["--locked", "--offline"])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("cargo {arguments:?}: {said}")));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
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
