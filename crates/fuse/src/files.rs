//! The files and directories that the guest has open, by its handles.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

/// An open file.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    /// `None` for a directory that is shown empty.
    pub(crate) file: Option<Arc<OwnedFd>>,
    pub(crate) node: u64,
    pub(crate) is_directory: bool,
}

#[derive(Debug)]
pub(crate) struct Files {
    by_handle: HashMap<u64, OpenFile>,
    next: u64,
    most: usize,
}

impl Files {
    /// At most `most` of them.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            by_handle: HashMap::new(),
            next: 1,
            most,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.by_handle.len()
    }

    /// Whether one more has room.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        match self.by_handle.len() < self.most {
            true => Ok(()),
            false => Err(Errno::NFILE),
        }
    }

    pub(crate) fn insert(&mut self, file: OpenFile) -> u64 {
        let handle = self.next;
        self.next += 1;
        self.by_handle.insert(handle, file);
        handle
    }

    /// The regular file of `handle`.
    pub(crate) fn file(&self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        match self.by_handle.get(&handle) {
            Some(open) if !open.is_directory => open.file.clone().ok_or(Errno::BADF),
            _ => Err(Errno::BADF),
        }
    }

    /// The directory of `handle`; `None` in it where it is shown empty.
    pub(crate) fn directory(&self, handle: u64) -> Result<OpenFile, Errno> {
        match self.by_handle.get(&handle) {
            Some(open) if open.is_directory => Ok(open.clone()),
            _ => Err(Errno::BADF),
        }
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Option<OpenFile> {
        self.by_handle.remove(&handle)
    }
}
