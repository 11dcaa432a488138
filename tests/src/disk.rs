//! Disks for guests: made, looked into and checked with the tools of e2fsprogs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::{Finished, run_bounded};

/// How long a tool may take, in the lab too.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder that is removed with everything in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder in the system's place for such.
    ///
    /// # Errors
    /// The host's.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A disk that holds `text` and blank lines: a guest may run it as a script.
    ///
    /// # Errors
    /// The host's.
    pub fn script(&self, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join("script");
        let length = (text.len() + 1).next_multiple_of(512);
        fs::write(&path, format!("{text:\n<length$}"))?;
        Ok(path)
    }

    /// An ext4 file system of `mebibytes`, empty, in a file without holes.
    ///
    /// # Errors
    /// The host's, and those of mke2fs.
    pub fn ext4(&self, mebibytes: usize) -> io::Result<PathBuf> {
        let path = self.0.join("ext4");
        fs::write(&path, vec![0; mebibytes << 20])?;
        let options = ["-q", "-F", "-t", "ext4", "-E", "nodiscard"];
        let made = tool("mke2fs", &options, &path)?;
        match made.code() {
            Some(0) => Ok(path),
            _ => Err(io::Error::other(format!("mke2fs: {made:?}"))),
        }
    }

    /// A file of `mebibytes` with nothing in it.
    ///
    /// # Errors
    /// The host's.
    pub fn hole(&self, mebibytes: u64) -> io::Result<PathBuf> {
        let path = self.0.join("hole");
        File::create(&path)?.set_len(mebibytes << 20)?;
        Ok(path)
    }

    /// Copies all files of the file system in `disk` into a new folder.
    ///
    /// # Errors
    /// The host's.
    pub fn extract(&self, disk: &Path) -> io::Result<PathBuf> {
        let folder = self.0.join("extracted");
        fs::create_dir_all(&folder)?;
        let request = format!("rdump / {}", folder.display());
        tool("debugfs", &["-R", &request], disk)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Checks the file system in `disk` without changing it; e2fsck's exit code, 0 for a clean one.
///
/// # Errors
/// The host's.
pub fn check(disk: &Path) -> io::Result<Finished> {
    tool("e2fsck", &["-f", "-n"], disk)
}

/// Replays the journal of the file system in `disk` and repairs it: 0, or 1 for one that was
/// repaired.
///
/// # Errors
/// The host's.
pub fn repair(disk: &Path) -> io::Result<Finished> {
    tool("e2fsck", &["-f", "-y"], disk)
}

fn tool(name: &str, options: &[&str], disk: &Path) -> io::Result<Finished> {
    // Debian keeps them where only root looks.
    let folders = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    let found = folders.into_iter().find(|path| path.exists());
    let program = found.unwrap_or_else(|| name.into());
    let mut command = Command::new(program);
    run_bounded(command.args(options).arg(disk), b"", LIMIT)
}
