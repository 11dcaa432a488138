//! Files and directories are opened.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Session;
use crate::directory::Access;
use crate::files::OpenFile;
use crate::opcode::OPEN_KEEP_CACHE;
use crate::reply::Done;

/// The flags of open(2) that come from the guest, beside the access mode: the kernel there has done what the others
/// ask for.
const FROM_GUEST: OFlags = OFlags::APPEND.union(OFlags::SYNC).union(OFlags::DSYNC);

impl Session {
    pub(super) fn open(&mut self, node: u64, flags: u32) -> Result<Done, Errno> {
        self.files.check_room()?;
        let known = self.inodes.node(node)?;
        if known.kind != FileType::RegularFile || known.is_hidden {
            return Err(Errno::ACCESS);
        }
        let flags = self.file_flags(flags)?;
        let path = self.inodes.descriptor(node)?;
        let file = self.directory.reopen(path.fd(), flags)?;
        self.opened(node, Some(file), false);
        Ok(Done::Collected)
    }

    /// The flags to open a file with, of those that the guest asks for.
    pub(super) fn file_flags(&self, flags: u32) -> Result<OFlags, Errno> {
        let asked = OFlags::from_bits_retain(flags);
        let mode = asked & OFlags::ACCMODE;
        let is_changed = mode != OFlags::RDONLY || asked.contains(OFlags::TRUNC);
        match self.directory.access {
            Access::ReadOnly if is_changed => Err(Errno::ROFS),
            Access::ReadOnly => Ok(OFlags::RDONLY),
            Access::ReadWrite if mode == OFlags::ACCMODE => Err(Errno::INVAL),
            Access::ReadWrite => Ok(mode | asked & (FROM_GUEST | OFlags::TRUNC)),
        }
    }

    pub(super) fn open_directory(&mut self, node: u64) -> Result<Done, Errno> {
        self.files.check_room()?;
        let known = self.inodes.node(node)?;
        if known.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let file = match known.is_hidden {
            true => None,
            false => {
                let path = self.inodes.descriptor(node)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Some(openat(path.fd(), ".", flags, Mode::empty())?)
            }
        };
        self.opened(node, file, true);
        Ok(Done::Collected)
    }

    /// Has the guest told of an open file, after what the answer holds already.
    pub(super) fn opened(&mut self, node: u64, file: Option<OwnedFd>, is_directory: bool) {
        let file = file.map(Arc::new);
        let handle = self.files.insert(OpenFile {
            file,
            node,
            is_directory,
        });
        self.inodes.opened(node);
        let flags = match is_directory {
            true => 0,
            // A file that has changed has another time, and its pages are dropped (FUSE_AUTO_INVAL_DATA).
            false => OPEN_KEEP_CACHE,
        };
        self.answer.u64(handle).u32(flags).u32(0);
    }
}
