//! Two VMs must not write one disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

use super::BlockError;

/// Locks a disk for itself, or shared with other readers, until what is returned is dropped: flock(2),
/// which knows the holder's process. A file system without locks has none.
///
/// The lock is on an open file of its own: what io_uring works on may be closed by the host some time
/// after this process.
pub(super) fn lock(path: &Path, read_only: bool) -> Result<File, BlockError> {
    let file = File::open(path).map_err(|source| BlockError::Open {
        path: path.to_owned(),
        read_only: true,
        source,
    })?;
    let answer = if read_only {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match answer {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BlockError::Locked {
            path: path.to_owned(),
            holder: holder(&file),
        }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(source)) => Err(BlockError::Lock {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Refuses a path that named another file when it was locked than when it was opened.
pub(super) fn check_same(locked: &File, opened: &File, path: &Path) -> Result<(), BlockError> {
    let place = |file: &File| Ok((file.metadata()?.dev(), file.metadata()?.ino()));
    let same = place(locked).and_then(|first| Ok(first == place(opened)?));
    let failed = |source| BlockError::Lock {
        path: path.to_owned(),
        source,
    };
    if same.map_err(failed)? {
        return Ok(());
    }
    let reason = "the path named another file a moment later: try again";
    Err(failed(io::Error::other(reason)))
}

/// Who has a lock on the file.
fn holder(file: &File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = find_holder(&locks, major(device), minor(device), metadata.ino())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(match name.trim() {
        "" => format!("process {pid}"),
        name => format!("process {pid} ({name})"),
    })
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
