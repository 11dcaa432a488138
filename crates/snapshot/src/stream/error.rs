//! Why a machine does not get to the other side.

use std::io;

use thiserror::Error;

use super::VERSION;

/// Why a machine does not get to the other side.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream broke, or took too long.
    #[error("the stream to the other side broke")]
    Io(#[source] io::Error),
    /// The other side closed the stream.
    #[error("the other side closed the stream")]
    Closed,
    /// The other side does not begin as a stream does.
    #[error("the other side does not speak the protocol of migration")]
    Magic,
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {0} of the protocol of migration, and this one {VERSION}"
    )]
    Version(u32),
    /// A message of a kind that is not known, or not now.
    #[error("a message of kind {kind} in the place of {expected}")]
    Unexpected {
        /// Its kind.
        kind: u16,
        /// The kinds that may be there.
        expected: &'static str,
    },
    /// The contents of a message cannot be so long.
    #[error("a message of kind {kind} with {length} bytes")]
    Length {
        /// Its kind.
        kind: u16,
        /// Bytes of its contents.
        length: u32,
    },
    /// A message has not the checksum that is written, or unknown flags.
    #[error("a message of kind {0} is damaged")]
    Damaged(u16),
    /// Pages behind the end of RAM.
    #[error("pages up to number {end}, and RAM has {pages}")]
    Outside {
        /// The page behind the last one.
        end: u64,
        /// Pages of RAM.
        pages: u64,
    },
    /// RAM that is not whole pages, or none.
    #[error("RAM of {0} bytes")]
    RamSize(u64),
    /// Contents to be sent that are too long.
    #[error("{what} of {length} bytes: at most {most}")]
    TooLong {
        /// The contents.
        what: &'static str,
        /// Its bytes.
        length: usize,
        /// The most bytes.
        most: usize,
    },
    /// RAM cannot be written here.
    #[error("memory that is received")]
    Store(#[source] io::Error),
    /// The other side does not take the machine, for this reason.
    #[error("the other side refused: {0}")]
    Refused(String),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
