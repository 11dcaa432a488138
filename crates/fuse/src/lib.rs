//! A FUSE server that shares one directory of the host with a guest that is not trusted: the other end of
//! virtio-fs (virtio 1.2, section 5.11), whatever carries its messages.
//!
//! [`Directory`] is the directory and how it is shared; [`Session`] is one mount of it, which answers
//! messages of the FUSE protocol (Linux's `include/uapi/linux/fuse.h`, version 7.38). A message is parsed by
//! [`Request::parse`], a pure function. Data of files goes between the host's files and the carrier's memory
//! directly: see [`Input`] and [`Output`].
//!
//! # Confinement to the directory
//!
//! Nothing outside of the directory is reached, whatever the messages say. Every name in a message is one
//! component: it has no `/`, and is neither `.` nor `..`. It is opened relative to a descriptor of its parent, with
//! O_PATH and O_NOFOLLOW, so no symbolic link of the guest's or the host's is followed here; the guest follows them,
//! among the names that it sees. Only regular files and directories are opened to read and write: device nodes,
//! FIFOs and sockets are names and attributes. File systems that show the host's kernel or its processes (procfs,
//! sysfs and their like) are empty directories. The set-user-ID and set-group-ID bits of files cannot be set.
//!
//! # Bounds
//!
//! Inodes that the guest knows, open files and descriptors are bounded by [`Limits`]. A descriptor that is closed to
//! keep the bound is opened again by the inode's names, and checked to be of the same file.
//!
//! ```
//! use vmmkit_fuse::{Access, Directory, Limits, Session};
//!
//! let directory = Directory::open(std::env::temp_dir(), Access::ReadOnly)?;
//! let mut session = Session::new(directory.into(), Limits::default());
//! // LOOKUP (1) of "..", message 7, in the root directory, whose node ID is 1: refused, with EINVAL.
//! let mut message = Vec::new();
//! message.extend(43_u32.to_le_bytes());
//! message.extend(1_u32.to_le_bytes());
//! message.extend(7_u64.to_le_bytes());
//! message.extend(1_u64.to_le_bytes());
//! message.extend([0; 16]);
//! message.extend(b"..\0");
//! let mut answer = vec![0; 256];
//! assert_eq!(session.handle(&mut message.as_slice(), &mut answer.as_mut_slice()), 16);
//! assert_eq!(answer[4..8], (-22_i32).to_le_bytes());
//! # Ok::<(), vmmkit_fuse::DirectoryError>(())
//! ```
#![forbid(unsafe_code)]

mod attributes;
mod bytes;
mod carrier;
mod counters;
mod directory;
mod files;
mod inodes;
mod opcode;
mod reply;
mod request;
mod session;

pub use carrier::{Input, Output};
pub use counters::Counters;
pub use directory::{Access, Directory, DirectoryError};
pub use request::{Attributes, BadRequest, Header, Operation, Request};
pub use session::{Limits, Session};
