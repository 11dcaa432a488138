//! Operations that change the directory.

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
    Uid, chmodat, chownat, fchmod, ftruncate, linkat, mkdirat, mknodat, openat, renameat_with,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{Session, owner};
use crate::attributes::{attributes, put_attributes_answer};
use crate::carrier::Input;
use crate::inodes::Descriptor;
use crate::reply::Done;
use crate::request::{Attributes, Header, NOW, Operation};

/// Permissions that a guest may set: not to run as the user or the group that owns the file.
const PERMISSIONS: u32 = 0o1777;

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & PERMISSIONS)
}

impl Session {
    pub(super) fn change(
        &mut self,
        header: &Header,
        operation: &Operation<'_>,
        input: &mut dyn Input,
    ) -> Result<Done, Errno> {
        let node = header.node;
        match *operation {
            Operation::SetAttr(wanted) => self.set_attributes(node, wanted),
            Operation::Symlink { name, target } => {
                let parent = self.inodes.directory(node)?;
                symlinkat(target, parent.fd(), name)?;
                self.made(header, name, None)
            }
            Operation::MakeNode { name, mode } => self.make_node(header, name, mode),
            Operation::MakeDirectory { name, mode } => {
                let parent = self.inodes.directory(node)?;
                mkdirat(parent.fd(), name, permissions(mode))?;
                self.made(header, name, Some(permissions(mode)))
            }
            Operation::Unlink { name } => self.remove(node, name, AtFlags::empty()),
            Operation::RemoveDirectory { name } => self.remove(node, name, AtFlags::REMOVEDIR),
            Operation::Rename {
                new_parent,
                flags,
                old,
                new,
            } => self.rename((node, old), (new_parent, new), flags),
            Operation::Link { old_node, name } => self.link(old_node, node, name),
            Operation::Create { name, flags, mode } => self.create(header, name, flags, mode),
            Operation::Write {
                handle,
                offset,
                size,
            } => self.write(handle, offset, size, input),
            Operation::Sync { handle, data_only } => self.sync(handle, data_only),
            Operation::SyncDirectory { handle } => self.sync_directory(handle),
            Operation::Allocate {
                handle,
                offset,
                length,
                mode,
            } => self.allocate(handle, offset, length, mode),
            _ => Err(Errno::NOSYS),
        }
    }

    fn make_node(&mut self, header: &Header, name: &[u8], mode: u32) -> Result<Done, Errno> {
        // A device would be one of the host's.
        let kind = match FileType::from_raw_mode(mode) {
            kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
            _ => return Err(Errno::PERM),
        };
        let parent = self.inodes.directory(header.node)?;
        mknodat(parent.fd(), name, kind, permissions(mode), 0)?;
        self.made(header, name, Some(permissions(mode)))
    }

    /// Tells the guest of the file that it has made.
    fn made(&mut self, header: &Header, name: &[u8], mode: Option<Mode>) -> Result<Done, Errno> {
        let (id, _) = self.inodes.look_up(header.node, name)?;
        let file = self.inodes.descriptor(id)?;
        self.give_away(header, &file);
        if let Some(mode) = mode {
            // The umask of this process counts for nothing: the guest has its own.
            self.set_mode(&file, mode)?;
        }
        let found = attributes(file.fd())?;
        Ok(self.entry(id, &found))
    }

    /// Gives a new file to the guest's user, where this process may.
    fn give_away(&self, header: &Header, file: &Descriptor) {
        let (uid, gid) = owner(header);
        if self.directory.gives_away && uid != u32::MAX && gid != u32::MAX {
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let _ = chownat(file.fd(), "", Some(uid), Some(gid), flags);
        }
    }

    fn set_mode(&self, file: &Descriptor, mode: Mode) -> Result<(), Errno> {
        let (directory, name) = self.directory.by_descriptor(file.fd());
        chmodat(directory, name, mode, AtFlags::empty())
    }

    fn create(
        &mut self,
        header: &Header,
        name: &[u8],
        flags: u32,
        mode: u32,
    ) -> Result<Done, Errno> {
        self.files.check_room()?;
        let wanted = self.file_flags(flags)?;
        let parent = self.inodes.directory(header.node)?;
        let fixed = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(parent.fd(), name, wanted | fixed, permissions(mode)) {
            Ok(file) => {
                fchmod(&file, permissions(mode))?;
                Some(file)
            }
            // Whatever is there may be no regular file: it is looked at before it is opened.
            Err(Errno::EXIST) if flags & OFlags::EXCL.bits() == 0 => None,
            Err(errno) => return Err(errno),
        };
        let (id, _) = self.inodes.look_up(header.node, name)?;
        let path = self.inodes.descriptor(id)?;
        let file = match file {
            Some(file) => {
                self.give_away(header, &path);
                file
            }
            None if self.inodes.node(id)?.kind == FileType::RegularFile => {
                self.directory.reopen(path.fd(), wanted)?
            }
            None => return Err(Errno::EXIST),
        };
        let found = attributes(path.fd())?;
        self.entry(id, &found);
        self.opened(id, Some(file), false);
        Ok(Done::Collected)
    }

    fn remove(&mut self, node: u64, name: &[u8], flags: AtFlags) -> Result<Done, Errno> {
        let parent = self.inodes.directory(node)?;
        unlinkat(parent.fd(), name, flags)?;
        Ok(Done::Collected)
    }

    fn rename(
        &mut self,
        (old_parent, old): (u64, &[u8]),
        (new_parent, new): (u64, &[u8]),
        flags: u32,
    ) -> Result<Done, Errno> {
        let flags = RenameFlags::from_bits_retain(flags);
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        let from = self.inodes.directory(old_parent)?;
        let to = self.inodes.directory(new_parent)?;
        renameat_with(from.fd(), old, to.fd(), new, flags)?;
        // What another process has done to the names since then is found at the next lookup.
        let _ = self.inodes.renamed(new_parent, new);
        if flags.contains(RenameFlags::EXCHANGE) {
            let _ = self.inodes.renamed(old_parent, old);
        }
        Ok(Done::Collected)
    }

    fn link(&mut self, old: u64, parent: u64, name: &[u8]) -> Result<Done, Errno> {
        let file = self.inodes.descriptor(old)?;
        let to = self.inodes.directory(parent)?;
        let (directory, link) = self.directory.by_descriptor(file.fd());
        linkat(directory, link, to.fd(), name, AtFlags::SYMLINK_FOLLOW)?;
        let (id, found) = self.inodes.look_up(parent, name)?;
        Ok(self.entry(id, &found))
    }

    fn set_attributes(&mut self, node: u64, wanted: Attributes) -> Result<Done, Errno> {
        let known = self.inodes.node(node)?;
        if known.is_hidden {
            return Err(Errno::PERM);
        }
        let file = self.inodes.descriptor(node)?;
        if let Some(size) = wanted.size {
            self.set_size(node, &file, wanted.handle, size)?;
        }
        if wanted.uid.is_some() || wanted.gid.is_some() {
            let id = |id: Option<u32>| match id {
                Some(u32::MAX) => Err(Errno::INVAL),
                id => Ok(id),
            };
            let (uid, gid) = (id(wanted.uid)?, id(wanted.gid)?);
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            chownat(file.fd(), "", uid, gid, flags)?;
        }
        if let Some(mode) = wanted.mode {
            if known.kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            self.set_mode(&file, permissions(mode))?;
        }
        if wanted.atime.is_some() || wanted.mtime.is_some() {
            let times = Timestamps {
                last_access: time(wanted.atime),
                last_modification: time(wanted.mtime),
            };
            let (directory, name) = self.directory.by_descriptor(file.fd());
            utimensat(directory, name, &times, AtFlags::empty())?;
        }
        let found = attributes(file.fd())?;
        put_attributes_answer(&mut self.answer, &found);
        Ok(Done::Collected)
    }

    fn set_size(
        &mut self,
        node: u64,
        path: &Descriptor,
        handle: Option<u64>,
        size: u64,
    ) -> Result<(), Errno> {
        if self.inodes.node(node)?.kind != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        match handle {
            Some(handle) => ftruncate(&*self.files.file(handle)?, size),
            None => ftruncate(self.directory.reopen(path.fd(), OFlags::WRONLY)?, size),
        }
    }
}

fn time(wanted: Option<(u64, u32)>) -> Timespec {
    let (tv_sec, tv_nsec) = match wanted {
        None => (0, UTIME_OMIT),
        Some((_, NOW)) => (0, UTIME_NOW),
        Some((seconds, nanoseconds)) => (seconds.cast_signed(), nanoseconds.into()),
    };
    Timespec { tv_sec, tv_nsec }
}
