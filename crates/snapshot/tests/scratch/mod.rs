//! A directory of a test's own.

use std::fs;
use std::path::PathBuf;

/// Removed at its end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// An empty one for the test `name`.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("vmmkit-snapshot-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
