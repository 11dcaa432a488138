//! A directory for files that only this process and its guests know.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Files in memory, on a Linux host that has them (shm_overview(7)).
const IN_MEMORY: &str = "/dev/shm";

/// A directory of this process's own, in memory where the host has such. It goes with this.
#[derive(Debug)]
pub(crate) struct Private(PathBuf);

impl Private {
    /// A new one, for what `work` is called.
    pub(crate) fn new(work: &str) -> Result<Self, Failure> {
        let in_memory = || Path::new(IN_MEMORY).is_dir().then(|| IN_MEMORY.into());
        let place = std::env::var_os("TMPDIR")
            .map(PathBuf::from)
            .or_else(in_memory);
        let place = place.unwrap_or_else(std::env::temp_dir);
        let name = format!("vmmkit-{work}-{:016x}", RandomState::new().hash_one(0));
        let path = place.join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            let next = "set TMPDIR to a directory that you can write to";
            Failure::host(&path.display().to_string(), &error, next)
        })?;
        Ok(Self(path))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it.
    pub(crate) fn remove(&self) {
        // A machine that has its files mapped keeps them.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.remove();
    }
}
