//! A file has one writer at a time.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{major, minor};
use thiserror::Error;

/// Why a file could not be locked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else has it.
    #[error("it is in use")]
    InUse {
        /// The process, where the host tells.
        holder: Option<Holder>,
    },
    /// The host's reason.
    #[error(transparent)]
    Host(#[from] io::Error),
}

/// A process that has locked a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// The name of its program (proc_pid_comm(5)); empty where the host does not tell.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        match self.name.as_str() {
            "" => Ok(()),
            name => write!(f, " ({name})"),
        }
    }
}

/// Locks an open file for itself, or `shared` with others who do so, until its description is closed:
/// flock(2), which knows the holder's process. A file system without locks has none.
///
/// # Errors
/// [`LockError`]; nothing is waited for.
pub fn lock_file(file: &File, shared: bool) -> Result<(), LockError> {
    let answer = if shared {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match answer {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(LockError::InUse {
            holder: lock_holder(file),
        }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(source)) => Err(LockError::Host(source)),
    }
}

/// The process that has a lock on the file, where the host tells.
pub fn lock_holder(file: &File) -> Option<Holder> {
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = find_holder(&locks, major(device), minor(device), metadata.ino())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim().to_owned();
    Some(Holder { pid, name })
}

/// The process of a line of /proc/locks (proc_locks(5)) that locks this inode as flock does.
fn find_holder(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        let mut words = words.skip(2);
        let pid = words.next()?;
        (is_flock && words.next() == Some(&place))
            .then(|| pid.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 15 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 13 fe:00:77 0 EOF\n";
        assert_eq!(find_holder(locks, 0xfe, 0, 77), Some(13));
        assert_eq!(find_holder(locks, 0xfe, 0, 78), Some(12));
        assert_eq!(find_holder(locks, 0xfe, 1, 78), None);
        assert_eq!(find_holder("nonsense", 0, 0, 0), None);
    }
}
