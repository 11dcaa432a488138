//! The machines of one user: a folder for each, named after it, in the user's runtime folder.
//!
//! ```text
//! $XDG_RUNTIME_DIR/vmmkit        0700   locked (flock) while an entry is made, looked at or removed
//!   web/                         0700
//!     pid                        0600   the process's id; locked (flock) as long as it lives
//!     api.sock                   0600
//!     about.json                 0600   what never changes of the machine
//! ```
//!
//! A process that dies without a word leaves its folder, but not its lock: whoever sees that next
//! removes the folder. No lock is ever waited for but that of the runtime folder, which nobody holds
//! for longer than a few system calls.

mod about;
mod error;
mod folder;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

pub use error::InstanceError;
pub use folder::RuntimeFolder;

/// The file that is locked.
const PID: &str = "pid";
/// The socket of the API.
const SOCKET: &str = "api.sock";
/// How long to wait for the runtime folder.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it is free.
const AGAIN: Duration = Duration::from_millis(1);
/// The most names that are tried for a machine that has none.
const MAX_NAMES: u32 = 1000;

/// Whether `text` can be a machine's name: 1 to 64 letters, digits, `-`, `_` and `.`, with no `.` at
/// the start.
pub fn is_name(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(is_good) && !text.starts_with('.')
}

/// A machine of this user that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its process, if it has written that down.
    pub pid: Option<u32>,
    /// The socket of its API.
    pub socket: PathBuf,
}

/// The entry that makes a machine known: held by its process, removed when it is dropped.
#[derive(Debug)]
pub struct Entry {
    name: String,
    folder: RuntimeFolder,
    _lock: File,
}

impl Entry {
    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its API is to listen.
    pub fn socket(&self) -> PathBuf {
        self.folder.of(&self.name).join(SOCKET)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Under the folder's lock, so that nobody finds half of it; without, if it is not to be had.
        let _lock = self.folder.lock();
        remove(&self.folder.of(&self.name));
    }
}

impl RuntimeFolder {
    /// Makes a machine known by `name`.
    ///
    /// # Errors
    /// [`InstanceError::InUse`] where a living machine has the name.
    pub fn enter(&self, name: &str) -> Result<Entry, InstanceError> {
        if !is_name(name) {
            return Err(InstanceError::BadName(name.to_owned()));
        }
        let _lock = self.lock()?;
        self.enter_locked(name)
    }

    /// The same by the first name of `base`, `base-2`, `base-3` ... that is free.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn enter_any(&self, base: &str) -> Result<Entry, InstanceError> {
        if !is_name(base) {
            return Err(InstanceError::BadName(base.to_owned()));
        }
        let _lock = self.lock()?;
        let mut result = self.enter_locked(base);
        for number in 2..MAX_NAMES {
            if !matches!(result, Err(InstanceError::InUse { .. })) {
                break;
            }
            result = self.enter_locked(&format!("{base}-{number}"));
        }
        result
    }

    fn enter_locked(&self, name: &str) -> Result<Entry, InstanceError> {
        let folder = self.of(name);
        let failed = |what| InstanceError::host(what, &folder);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make the folder")(error));
            }
            _ => {}
        }
        let mut pid = open_pid(&folder, true).map_err(failed("write in the folder"))?;
        if !try_lock(&pid) {
            return Err(InstanceError::InUse {
                name: name.to_owned(),
                pid: read_pid(&mut pid),
            });
        }
        let written = pid
            .set_len(0)
            .and_then(|()| writeln!(pid, "{}", std::process::id()));
        written.map_err(failed("write in the folder"))?;
        Ok(Entry {
            name: name.to_owned(),
            folder: self.clone(),
            _lock: pid,
        })
    }

    /// The machines that are there, by name. What dead ones have left is removed.
    ///
    /// # Errors
    /// [`InstanceError`] where the folder cannot be read.
    pub fn instances(&self) -> Result<Vec<Instance>, InstanceError> {
        let failed = |error| InstanceError::host("read the folder", self.path())(error);
        let _lock = self.lock()?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_name(name)) {
                found.extend(self.look(name));
            }
        }
        found.sort_by(|one: &Instance, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The machine called `name`.
    ///
    /// # Errors
    /// [`InstanceError::NoSuch`] where there is none, or none any more.
    pub fn find(&self, name: &str) -> Result<Instance, InstanceError> {
        if !is_name(name) {
            return Err(InstanceError::BadName(name.to_owned()));
        }
        let lock = self.lock()?;
        let was_there = self.of(name).exists();
        let found = self.look(name);
        drop(lock);
        found.ok_or_else(|| InstanceError::NoSuch {
            name: name.to_owned(),
            was_there,
        })
    }

    /// Looks at one entry, and removes it if its process is gone.
    fn look(&self, name: &str) -> Option<Instance> {
        let folder = self.of(name);
        let mut pid = match open_pid(&folder, false) {
            Ok(pid) => pid,
            Err(error) => {
                // A folder without the file was left by one that died while it made it.
                if error.kind() == io::ErrorKind::NotFound {
                    remove(&folder);
                }
                return None;
            }
        };
        if try_lock(&pid) {
            remove(&folder);
            return None;
        }
        Some(Instance {
            name: name.to_owned(),
            pid: read_pid(&mut pid),
            socket: folder.join(SOCKET),
        })
    }

    /// Locks the folder, as long as what is returned lives.
    fn lock(&self) -> Result<File, InstanceError> {
        let failed = |error| InstanceError::host("lock the folder", self.path())(error);
        let folder = File::open(self.path()).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        while !try_lock(&folder) {
            if Instant::now() > deadline {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(folder)
    }

    fn of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn open_pid(folder: &Path, make: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(make)
        .create(make)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(folder.join(PID))
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn try_lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes an entry: what it may have, and nothing else.
fn remove(folder: &Path) {
    let _ = fs::remove_file(folder.join(SOCKET));
    let _ = fs::remove_file(about::path_in(folder));
    let _ = fs::remove_file(folder.join(PID));
    let _ = fs::remove_dir(folder);
}
