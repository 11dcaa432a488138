//! Shared by the tests of the binary: a folder for each test, and guests of a few instructions.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod back_end;
pub(crate) mod disk_writer;
pub(crate) mod running;

use std::fs;
use std::path::{Path, PathBuf};

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use vmmkit_tests::micro::{echo_guest, elf, has_kvm, pvh_elf, triple_fault_guest};

/// A folder of its own, gone after the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty folder.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vmmkit-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary under test: the one that cargo built for these tests, or another that
/// `VMMKIT_TEST_BIN` names, for test binaries that have been taken to another machine.
pub(crate) fn vmmkit() -> PathBuf {
    std::env::var_os("VMMKIT_TEST_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_vmmkit").into(), PathBuf::from)
}
