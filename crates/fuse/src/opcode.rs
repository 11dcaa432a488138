//! The numbers of the protocol (Linux's `include/uapi/linux/fuse.h`).

/// The version that is spoken.
pub(crate) const MAJOR: u32 = 7;
pub(crate) const MINOR: u32 = 38;

/// The node ID of the shared directory.
pub(crate) const ROOT: u64 = 1;

/// Bytes of the header of a message and of an answer.
pub(crate) const IN_HEADER: usize = 40;
pub(crate) const OUT_HEADER: usize = 16;

/// The most bytes of data in one message.
pub(crate) const MAX_DATA: u32 = 1 << 20;
/// The same in pages of 4 KiB.
pub(crate) const MAX_PAGES: u16 = 256;

pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const SETATTR: u32 = 4;
pub(crate) const READLINK: u32 = 5;
pub(crate) const SYMLINK: u32 = 6;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const UNLINK: u32 = 10;
pub(crate) const RMDIR: u32 = 11;
pub(crate) const RENAME: u32 = 12;
pub(crate) const LINK: u32 = 13;
pub(crate) const OPEN: u32 = 14;
pub(crate) const READ: u32 = 15;
pub(crate) const WRITE: u32 = 16;
pub(crate) const STATFS: u32 = 17;
pub(crate) const RELEASE: u32 = 18;
pub(crate) const FSYNC: u32 = 20;
pub(crate) const INIT: u32 = 26;
pub(crate) const OPENDIR: u32 = 27;
pub(crate) const READDIR: u32 = 28;
pub(crate) const RELEASEDIR: u32 = 29;
pub(crate) const FSYNCDIR: u32 = 30;
pub(crate) const CREATE: u32 = 35;
pub(crate) const INTERRUPT: u32 = 36;
pub(crate) const DESTROY: u32 = 38;
pub(crate) const BATCH_FORGET: u32 = 42;
pub(crate) const FALLOCATE: u32 = 43;
pub(crate) const READDIRPLUS: u32 = 44;
pub(crate) const RENAME2: u32 = 45;

/// Flags of INIT: reads side by side, truncation at open, large writes, pages dropped when a file has changed,
/// directories with attributes, lookups side by side, MAX_PAGES, targets of symbolic links kept.
pub(crate) const INIT_FLAGS: u32 =
    1 | 1 << 3 | 1 << 5 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 22 | 1 << 23;

/// Bits of SETATTR's `valid`.
pub(crate) const SET_MODE: u32 = 1;
pub(crate) const SET_UID: u32 = 1 << 1;
pub(crate) const SET_GID: u32 = 1 << 2;
pub(crate) const SET_SIZE: u32 = 1 << 3;
pub(crate) const SET_ATIME: u32 = 1 << 4;
pub(crate) const SET_MTIME: u32 = 1 << 5;
pub(crate) const SET_HANDLE: u32 = 1 << 6;
pub(crate) const SET_ATIME_NOW: u32 = 1 << 7;
pub(crate) const SET_MTIME_NOW: u32 = 1 << 8;

/// A bit of GETATTR's flags: the file handle counts.
pub(crate) const GETATTR_HANDLE: u32 = 1;
/// A bit of FSYNC's flags: the data alone.
pub(crate) const FSYNC_DATA: u32 = 1;
/// A flag of an open file: pages that the guest has read stay.
pub(crate) const OPEN_KEEP_CACHE: u32 = 1 << 1;
