//! Back ends: the descriptor and the mapping flags that each takes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::{Backing, RamConfig, RamError, host};

/// How whole pages become zero without being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Dropped; the next touch brings a zero page.
    Private,
    /// Replaced by anonymous pages: dropping them would bring the contents of the file back.
    PrivateFile,
    /// Punched out of the file.
    Shared,
    /// Not at all: huge pages, or pages that were paid for in advance.
    Keep,
}

/// Source of a mapping.
#[derive(Debug)]
pub(crate) struct Source {
    /// Flags of mmap(2).
    pub(crate) flags: i32,
    /// The file, if it is not anonymous.
    pub(crate) file: Option<Arc<File>>,
    /// How pages become zero.
    pub(crate) pages: Pages,
}

/// Opens what `config` asks for, as large as it must be.
pub(crate) fn open(config: &RamConfig) -> Result<Source, RamError> {
    let size = config.size.bytes();
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let shared = libc::MAP_SHARED | libc::MAP_NORESERVE;
    let (flags, file, pages) = match &config.backing {
        Backing::Anonymous => (anonymous | libc::MAP_NORESERVE, None, Pages::Private),
        Backing::Memfd => (shared, Some(memfd(size)?), Pages::Shared),
        Backing::File(path) => (shared, Some(open_file(path, size)?), Pages::Shared),
        // Without MAP_NORESERVE: mmap(2) takes the pages from the reserve, or fails.
        Backing::HugeTlb(page_size) => {
            let file = huge_memfd(size, *page_size)?;
            (libc::MAP_SHARED, Some(file), Pages::Keep)
        }
    };
    let pages = if config.prefault { Pages::Keep } else { pages };
    Ok(Source {
        flags,
        file: file.map(Arc::new),
        pages,
    })
}

fn memfd(size: u64) -> Result<File, RamError> {
    sealed_memfd(size, MemfdFlags::empty()).map_err(|source| RamError::Memfd { size, source })
}

/// A memfd of huge pages.
fn huge_memfd(size: u64, page_size: u64) -> Result<File, RamError> {
    let flag = match host::HUGE_PAGE_SIZES.iter().position(|it| *it == page_size) {
        Some(0) => MemfdFlags::HUGE_2MB,
        Some(_) => MemfdFlags::HUGE_1GB,
        None => return Err(RamError::HugePageSize { page_size }),
    };
    if !size.is_multiple_of(page_size) {
        return Err(RamError::HugePageMultiple { size, page_size });
    }
    sealed_memfd(size, MemfdFlags::HUGETLB | flag)
        .map_err(|source| host::huge_page_shortage(size, page_size, source))
}

/// A memfd that no holder can make larger or smaller.
fn sealed_memfd(size: u64, flags: MemfdFlags) -> io::Result<File> {
    let always = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create("guest-ram", always | flags)?;
    ftruncate(&file, size)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(File::from(file))
}

/// Opens the RAM file, or makes it, and locks it for this process.
fn open_file(path: &Path, size: u64) -> Result<File, RamError> {
    let failed = |action| failed(action, path, size);
    let mut options = open_options();
    let options = options.create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(failed("open"))?;
    let length = take(&file, path, size)?;
    if length < size {
        file.set_len(size).map_err(failed("extend"))?;
    }
    Ok(file)
}

/// Whether the RAM file could be had; it is neither made nor changed.
pub(crate) fn check_file(path: &Path, size: u64) -> Result<(), RamError> {
    match open_options().open(path) {
        Ok(file) => take(&file, path, size).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("open", path, size)(error)),
    }
}

/// Opening a pipe must not wait for its other end.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

/// Locks the file (flock(2)), if it is one that can be RAM of this size: empty, or RAM of that size
/// before. Its size in bytes.
fn take(file: &File, path: &Path, size: u64) -> Result<u64, RamError> {
    let metadata = file.metadata().map_err(failed("examine", path, size))?;
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(RamError::NotAFile { path });
    }
    let locked = match metadata.nlink() {
        // A file without a name (a memfd by /proc/self/fd) is reached by those alone who were handed it, such as
        // the back end of a device in another process: they share it.
        0 => Ok(()),
        _ => file.try_lock(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RamError::FileInUse { path }),
        // A file system without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path, size)(error)),
    }
    // After the lock: whoever had it may have made it larger.
    let length = file
        .metadata()
        .map_err(failed("examine", &path, size))?
        .len();
    match length {
        0 => Ok(length),
        _ if length == size => Ok(length),
        _ => Err(RamError::FileSize { path, length, size }),
    }
}

fn failed(action: &'static str, path: &Path, size: u64) -> impl Fn(io::Error) -> RamError {
    let path = path.to_owned();
    move |source| RamError::File {
        action,
        path: path.clone(),
        size,
        source,
    }
}
