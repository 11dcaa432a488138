//! Why a file cannot be had.

use std::fmt;
use std::io;

use thiserror::Error;

use super::lock::Holder;

/// The kind of file at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Folder,
    /// A pipe (FIFO).
    Pipe,
    /// A UNIX socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "a regular file",
            Self::Folder => "a directory",
            Self::Pipe => "a pipe (FIFO)",
            Self::Socket => "a socket",
            Self::BlockDevice => "a block device",
            Self::CharacterDevice => "a character device",
        })
    }
}

/// Why a file cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The host's reason.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// It is something else.
    #[error("it is {0}, which cannot be used here")]
    Kind(FileKind),
    /// Another process has locked it: a guest whose disk it is, for one.
    #[error("it is in use{}", by(.holder))]
    InUse {
        /// The process that has the lock, where the host tells.
        holder: Option<Holder>,
    },
    /// It is a symbolic link of another user's in a folder that everybody may write to.
    #[error("it is a symbolic link that another user put into a folder where everybody may write")]
    PlantedLink,
    /// The path has come to name another file since it was looked at.
    #[error("the path named another file a moment later: try again")]
    Changed,
    /// It has at least so many bytes.
    #[error("it is not smaller than {0} bytes")]
    TooLong(usize),
    /// Nobody writes to the pipe.
    #[error("nobody writes to this pipe")]
    NoWriter,
    /// Nobody reads from the pipe.
    #[error("nobody reads from this pipe")]
    NoReader,
}

fn by(holder: &Option<Holder>) -> String {
    let holder = holder.as_ref();
    holder.map_or(String::new(), |holder| format!(" by {holder}"))
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Host(error) => error,
            other => Self::other(other),
        }
    }
}
