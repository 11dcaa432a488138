//! The directory that is shared.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use thiserror::Error;

use crate::attributes::{Node, is_of_the_kernel};

/// The rights of a guest to a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Read it; every change is refused with EROFS.
    #[default]
    ReadOnly,
    /// Change it too, as far as this process may.
    ReadWrite,
}

/// A directory to share. Sessions of it begin and end; it stays open.
#[derive(Debug)]
pub struct Directory {
    pub(crate) root: OwnedFd,
    pub(crate) node: Node,
    pub(crate) access: Access,
    /// New files are given to the guest's user, as root may.
    pub(crate) gives_away: bool,
    /// /proc/self/fd: a file that is open with O_PATH is opened by its name there, to read or write.
    descriptors: OwnedFd,
    path: PathBuf,
}

/// Why a directory cannot be shared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It cannot be opened.
    #[error("cannot open the directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// It shows the host's kernel or its processes, and no files.
    #[error("{} is of a file system that the kernel makes up, and is not shared", path.display())]
    OfTheKernel {
        /// The directory.
        path: PathBuf,
    },
    /// The host has no procfs at /proc, by which files are opened.
    #[error("cannot open /proc/self/fd")]
    NoProc {
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the directory `path`.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(path: impl Into<PathBuf>, access: Access) -> Result<Self, DirectoryError> {
        let path = path.into();
        let opened = || {
            let root = openat(CWD, &path, PATH | OFlags::DIRECTORY, Mode::empty())?;
            let node = Node::of(&root)?.0;
            let of_the_kernel = is_of_the_kernel(&root)?;
            Ok::<_, Errno>((root, node, of_the_kernel))
        };
        let (root, node, of_the_kernel) = match opened() {
            Ok(opened) => opened,
            Err(errno) => {
                let source = errno.into();
                return Err(DirectoryError::Open { path, source });
            }
        };
        if of_the_kernel {
            return Err(DirectoryError::OfTheKernel { path });
        }
        let own = openat(
            CWD,
            "/proc/self/fd",
            PATH | OFlags::DIRECTORY,
            Mode::empty(),
        );
        let descriptors = own.map_err(|errno| DirectoryError::NoProc {
            source: errno.into(),
        })?;
        Ok(Self {
            root,
            node,
            access,
            gives_away: rustix::process::geteuid().is_root(),
            descriptors,
            path,
        })
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The guest's rights to it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The place of `file`, which is open with O_PATH, in procfs: a directory, and a name there. It is the one link
    /// that is followed.
    pub(crate) fn by_descriptor(&self, file: &OwnedFd) -> (BorrowedFd<'_>, String) {
        use std::os::fd::AsFd;
        (self.descriptors.as_fd(), file.as_raw_fd().to_string())
    }

    /// Opens `file`, which is open with O_PATH and a regular file, with `flags`.
    pub(crate) fn reopen(&self, file: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (directory, name) = self.by_descriptor(file);
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(directory, name, flags, Mode::empty())
    }
}
