//! Messages of the guest's, parsed.

use thiserror::Error;

use crate::bytes::Fields;
use crate::opcode::*;

/// The most bytes of a name (NAME_MAX).
const NAME_MAX: usize = 255;
/// The most bytes of the target of a symbolic link, without the 0 at its end (PATH_MAX).
const TARGET_MAX: usize = 4095;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes of the message, as it says.
    pub length: u32,
    /// Its kind.
    pub opcode: u32,
    /// Its number, which the answer has too.
    pub unique: u64,
    /// The inode that it is about.
    pub node: u64,
    /// The user and the group of the process in the guest.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Its header.
    pub header: Header,
    /// The rest.
    pub operation: Operation<'a>,
}

/// New attributes of a file; `None` for those that stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// The file handle to set the size by.
    pub handle: Option<u64>,
    /// Permissions.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Seconds and nanoseconds of the last access; `(0, u32::MAX)` for now.
    pub atime: Option<(u64, u32)>,
    /// Of the last change.
    pub mtime: Option<(u64, u32)>,
}

/// The nanoseconds of a time that stands for now.
pub(crate) const NOW: u32 = u32::MAX;

/// An operation. Names are single components: no `/`, and neither `.` nor `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields have the names of fuse.h")]
pub enum Operation<'a> {
    /// FUSE_INIT.
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
    },
    /// FUSE_DESTROY.
    Destroy,
    /// FUSE_INTERRUPT, which has no answer.
    Interrupt,
    /// FUSE_LOOKUP.
    Lookup { name: &'a [u8] },
    /// FUSE_FORGET, which has no answer.
    Forget { lookups: u64 },
    /// FUSE_BATCH_FORGET, which has no answer: pairs of a node ID and a count, 16 bytes each.
    BatchForget { pairs: &'a [u8] },
    /// FUSE_GETATTR.
    GetAttr { handle: Option<u64> },
    /// FUSE_SETATTR.
    SetAttr(Attributes),
    /// FUSE_READLINK.
    ReadLink,
    /// FUSE_SYMLINK.
    Symlink { name: &'a [u8], target: &'a [u8] },
    /// FUSE_MKNOD.
    MakeNode { name: &'a [u8], mode: u32 },
    /// FUSE_MKDIR.
    MakeDirectory { name: &'a [u8], mode: u32 },
    /// FUSE_UNLINK.
    Unlink { name: &'a [u8] },
    /// FUSE_RMDIR.
    RemoveDirectory { name: &'a [u8] },
    /// FUSE_RENAME and FUSE_RENAME2.
    Rename {
        new_parent: u64,
        flags: u32,
        old: &'a [u8],
        new: &'a [u8],
    },
    /// FUSE_LINK.
    Link { old_node: u64, name: &'a [u8] },
    /// FUSE_OPEN.
    Open { flags: u32 },
    /// FUSE_CREATE.
    Create {
        name: &'a [u8],
        flags: u32,
        mode: u32,
    },
    /// FUSE_READ.
    Read { handle: u64, offset: u64, size: u32 },
    /// FUSE_WRITE; the data follows.
    Write { handle: u64, offset: u64, size: u32 },
    /// FUSE_FSYNC.
    Sync { handle: u64, data_only: bool },
    /// FUSE_FALLOCATE.
    Allocate {
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    /// FUSE_RELEASE and FUSE_RELEASEDIR.
    Release { handle: u64 },
    /// FUSE_OPENDIR.
    OpenDirectory,
    /// FUSE_READDIR and FUSE_READDIRPLUS.
    ReadDirectory {
        handle: u64,
        offset: u64,
        size: u32,
        plus: bool,
    },
    /// FUSE_FSYNCDIR.
    SyncDirectory { handle: u64 },
    /// FUSE_STATFS.
    StatFs,
    /// One that is not served.
    Unknown,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// There is no whole header.
    #[error("no whole header")]
    Header,
    /// The operation's fields are cut off, or a text has no end.
    #[error("operation {} is cut off", .0.opcode)]
    Cut(Header),
    /// A name that is not a single component.
    #[error("operation {} has a name that is none", .0.opcode)]
    Name(Header),
    /// A name or target that is too long.
    #[error("operation {} has a name that is too long", .0.opcode)]
    TooLong(Header),
}

impl Header {
    fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let header = Self {
            length: fields.u32()?,
            opcode: fields.u32()?,
            unique: fields.u64()?,
            node: fields.u64()?,
            uid: fields.u32()?,
            gid: fields.u32()?,
        };
        // The process, extensions and padding.
        fields.u64()?;
        Some(header)
    }
}

impl<'a> Request<'a> {
    /// The message in `bytes`: its header and fields, of a FUSE_WRITE without the data.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRequest> {
        let mut fields = Fields(bytes);
        let header = Header::parse(&mut fields).ok_or(BadRequest::Header)?;
        let operation = operation(header.opcode, &mut fields).ok_or(BadRequest::Cut(header))?;
        check_names(&operation).map_err(|fault| fault(header))?;
        Ok(Self { header, operation })
    }
}

fn operation<'a>(opcode: u32, fields: &mut Fields<'a>) -> Option<Operation<'a>> {
    Some(match opcode {
        INIT => Operation::Init {
            major: fields.u32()?,
            minor: fields.u32()?,
            max_readahead: fields.u32()?,
            flags: fields.u32()?,
        },
        DESTROY => Operation::Destroy,
        INTERRUPT => Operation::Interrupt,
        LOOKUP => Operation::Lookup {
            name: fields.text()?,
        },
        FORGET => Operation::Forget {
            lookups: fields.u64()?,
        },
        BATCH_FORGET => batch_forget(fields)?,
        GETATTR => get_attr(fields)?,
        SETATTR => Operation::SetAttr(attributes(fields)?),
        READLINK => Operation::ReadLink,
        OPEN => Operation::Open {
            flags: fields.u32()?,
        },
        READ => transfer(fields, |handle, offset, size| Operation::Read {
            handle,
            offset,
            size,
        })?,
        WRITE => transfer(fields, |handle, offset, size| Operation::Write {
            handle,
            offset,
            size,
        })?,
        READDIR | READDIRPLUS => {
            let plus = opcode == READDIRPLUS;
            transfer(fields, |handle, offset, size| Operation::ReadDirectory {
                handle,
                offset,
                size,
                plus,
            })?
        }
        FSYNC => Operation::Sync {
            handle: fields.u64()?,
            data_only: fields.u32()? & FSYNC_DATA != 0,
        },
        FSYNCDIR => Operation::SyncDirectory {
            handle: fields.u64()?,
        },
        FALLOCATE => Operation::Allocate {
            handle: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u64()?,
            mode: fields.u32()?,
        },
        RELEASE | RELEASEDIR => Operation::Release {
            handle: fields.u64()?,
        },
        OPENDIR => Operation::OpenDirectory,
        STATFS => Operation::StatFs,
        _ => return change(opcode, fields),
    })
}

/// The operations that make, move and remove names.
fn change<'a>(opcode: u32, fields: &mut Fields<'a>) -> Option<Operation<'a>> {
    Some(match opcode {
        SYMLINK => Operation::Symlink {
            name: fields.text()?,
            target: fields.text()?,
        },
        MKNOD => {
            let mode = fields.u32()?;
            // The device, the umask (which the guest has applied) and padding.
            fields.u32().and(fields.u64())?;
            let name = fields.text()?;
            Operation::MakeNode { name, mode }
        }
        MKDIR => {
            let mode = fields.u32()?;
            fields.u32()?;
            let name = fields.text()?;
            Operation::MakeDirectory { name, mode }
        }
        CREATE => {
            let (flags, mode) = (fields.u32()?, fields.u32()?);
            fields.u64()?;
            let name = fields.text()?;
            Operation::Create { name, flags, mode }
        }
        UNLINK => Operation::Unlink {
            name: fields.text()?,
        },
        RMDIR => Operation::RemoveDirectory {
            name: fields.text()?,
        },
        RENAME | RENAME2 => {
            let new_parent = fields.u64()?;
            let flags = match opcode {
                RENAME2 => fields.u32().zip(fields.u32())?.0,
                _ => 0,
            };
            Operation::Rename {
                new_parent,
                flags,
                old: fields.text()?,
                new: fields.text()?,
            }
        }
        LINK => Operation::Link {
            old_node: fields.u64()?,
            name: fields.text()?,
        },
        _ => Operation::Unknown,
    })
}

fn get_attr<'a>(fields: &mut Fields<'_>) -> Option<Operation<'a>> {
    let (flags, _, handle) = (fields.u32()?, fields.u32()?, fields.u64()?);
    let handle = (flags & GETATTR_HANDLE != 0).then_some(handle);
    Some(Operation::GetAttr { handle })
}

fn batch_forget<'a>(fields: &mut Fields<'a>) -> Option<Operation<'a>> {
    let (count, _) = (fields.u32()?, fields.u32()?);
    let bytes = usize::try_from(count).ok()?.checked_mul(16)?;
    let pairs = fields.0.get(..bytes)?;
    Some(Operation::BatchForget { pairs })
}

/// The fields that reads and writes have in common.
fn transfer<'a>(
    fields: &mut Fields<'_>,
    made: impl FnOnce(u64, u64, u32) -> Operation<'a>,
) -> Option<Operation<'a>> {
    let (handle, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
    // Flags, the owner of locks, flags of the file and padding.
    fields
        .u32()
        .and(fields.u64())
        .and(fields.u32())
        .and(fields.u32())?;
    Some(made(handle, offset, size))
}

fn attributes(fields: &mut Fields<'_>) -> Option<Attributes> {
    let (valid, _) = (fields.u32()?, fields.u32()?);
    let (handle, size, _) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let (atime, mtime, _) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let (atime_ns, mtime_ns, _) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (mode, _) = (fields.u32()?, fields.u32()?);
    let (uid, gid, _) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let has = |bit| valid & bit != 0;
    let time = |bit, now, seconds, nanoseconds: u32| match (has(bit), has(now)) {
        (_, true) => Some((0, NOW)),
        (true, false) => Some((seconds, nanoseconds.min(999_999_999))),
        (false, false) => None,
    };
    Some(Attributes {
        handle: has(SET_HANDLE).then_some(handle),
        mode: has(SET_MODE).then_some(mode),
        uid: has(SET_UID).then_some(uid),
        gid: has(SET_GID).then_some(gid),
        size: has(SET_SIZE).then_some(size),
        atime: time(SET_ATIME, SET_ATIME_NOW, atime, atime_ns),
        mtime: time(SET_MTIME, SET_MTIME_NOW, mtime, mtime_ns),
    })
}

fn check_names(operation: &Operation<'_>) -> Result<(), fn(Header) -> BadRequest> {
    match operation {
        Operation::Lookup { name }
        | Operation::MakeNode { name, .. }
        | Operation::MakeDirectory { name, .. }
        | Operation::Unlink { name }
        | Operation::RemoveDirectory { name }
        | Operation::Link { name, .. }
        | Operation::Create { name, .. } => check_name(name),
        Operation::Rename { old, new, .. } => check_name(old).and(check_name(new)),
        Operation::Symlink { name, target } => {
            if target.is_empty() {
                return Err(BadRequest::Name);
            }
            if target.len() > TARGET_MAX {
                return Err(BadRequest::TooLong);
            }
            check_name(name)
        }
        _ => Ok(()),
    }
}

/// Whether `name` is one component of a path, and goes nowhere but down.
fn check_name(name: &[u8]) -> Result<(), fn(Header) -> BadRequest> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(BadRequest::Name);
    }
    if name.len() > NAME_MAX {
        return Err(BadRequest::TooLong);
    }
    Ok(())
}
