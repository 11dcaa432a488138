//! The file or block device of a disk, opened.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::lock::{check_same, lock};
use super::{BlockConfig, BlockError};

/// Refuses what an open may wait for (a pipe) or wind (a tape).
pub(super) fn check_kind(path: &Path) -> Result<FileType, BlockError> {
    let found = std::fs::metadata(path).map_err(|source| BlockError::Open {
        path: path.to_owned(),
        read_only: true,
        source,
    });
    let kind = found?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(BlockError::NotADisk {
            path: path.to_owned(),
        });
    }
    Ok(kind)
}

/// Opens the file or block device of `config` and locks it: what has the lock, and the file.
pub(super) fn open_locked(config: &BlockConfig) -> Result<(File, File), BlockError> {
    let path = &config.path;
    check_kind(path)?;
    let locked = lock(path, config.read_only)?;
    let file = open(config)?;
    check_same(&locked, &file, path)?;
    Ok((locked, file))
}

/// Opens the file. A block device that is to be written is taken from the host (O_EXCL without
/// O_CREAT, open(2)): it cannot be mounted then, nor be taken while it is; nor could sectors be
/// discarded otherwise.
pub(super) fn open(config: &BlockConfig) -> Result<File, BlockError> {
    let path = &config.path;
    let mut flags = OFlags::empty();
    if config.direct {
        flags |= OFlags::DIRECT;
    }
    if !config.read_only && check_kind(path)?.is_block_device() {
        flags |= OFlags::EXCL;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(!config.read_only);
    options.custom_flags(flags.bits() as i32);
    let opened = open_when_free(&options, path);
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => BlockError::HostUses { path: path.clone() },
        io::ErrorKind::InvalidInput if config.direct => BlockError::NoDirect { path: path.clone() },
        _ => BlockError::Open {
            path: path.clone(),
            read_only: config.read_only,
            source,
        },
    })
}

/// The file that is to be used past the page cache, by way of it.
pub(super) fn open_cached(config: &BlockConfig, locked: &File) -> Result<File, BlockError> {
    let path = &config.path;
    let mut options = OpenOptions::new();
    options.read(true).write(!config.read_only);
    let opened = options.open(path);
    let cached = opened.map_err(|source| BlockError::Open {
        path: path.clone(),
        read_only: config.read_only,
        source,
    })?;
    check_same(locked, &cached, path)?;
    Ok(cached)
}

/// Opens, and gives a device that is busy some time: the host takes the io_uring of a process that was
/// killed apart a moment after its end.
fn open_when_free(options: &OpenOptions, path: &Path) -> io::Result<File> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    for _ in 1..TRIES {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    options.open(path)
}
