//! Two VMs must not write one disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vmmkit_host_io::{LockError, lock_file, open_options};

use super::BlockError;

/// Locks a disk for itself, or shared with other readers, until what is returned is dropped.
///
/// The lock is on an open file of its own: what io_uring works on may be closed by the host some time
/// after this process.
pub(super) fn lock(path: &Path, read_only: bool) -> Result<File, BlockError> {
    let file = open_options()
        .read(true)
        .open(path)
        .map_err(|source| BlockError::Open {
            path: path.to_owned(),
            read_only: true,
            source,
        })?;
    lock_again(&file, path, read_only)?;
    Ok(file)
}

/// Locks `file`, which is open at `path`.
pub(super) fn lock_again(file: &File, path: &Path, read_only: bool) -> Result<(), BlockError> {
    let path = path.to_owned();
    match lock_file(file, read_only) {
        Ok(()) => Ok(()),
        Err(LockError::InUse { holder }) => Err(BlockError::Locked { path, holder }),
        Err(LockError::Host(source)) => Err(BlockError::Lock { path, source }),
        Err(other) => Err(BlockError::Lock {
            path,
            source: io::Error::other(other),
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
