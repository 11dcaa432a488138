//! Why a container cannot be written or read.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{MAX_CHAIN, MAX_NAME, MAX_SECTIONS, MAX_TABLE, VERSION};

/// The fault of an id or a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameFault {
    /// It is empty or too long.
    #[error("{0} bytes long: must be from 1 to {MAX_NAME}")]
    Length(usize),
    /// It has a byte that is not possible.
    #[error("has the byte {0:#04x}: only letters, digits, \"-\", \"_\" and \".\" are possible")]
    Byte(u8),
}

/// Why a section cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The id cannot be one.
    #[error("section {id:?}: the id")]
    Id {
        /// The id.
        id: String,
        /// The reason.
        #[source]
        fault: NameFault,
    },
    /// The kind cannot be one.
    #[error("section {id:?}: the kind {kind:?}")]
    Kind {
        /// The section's id.
        id: String,
        /// Its kind.
        kind: String,
        /// The reason.
        #[source]
        fault: NameFault,
    },
    /// Another section has the id.
    #[error("section {0:?} is there already")]
    Twice(String),
    /// There are too many sections.
    #[error("more than {MAX_SECTIONS} sections")]
    Sections,
}

/// Why a container cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It does not begin as a container does.
    #[error("not a snapshot")]
    Magic,
    /// It is of a version that this build does not know.
    #[error("version {0}: this build reads version {VERSION}")]
    Version(u32),
    /// It ends too early.
    #[error("ends after {length} bytes, in {part}")]
    Truncated {
        /// Its length in bytes.
        length: usize,
        /// The part that ends too early: the header, the table, or a section's id.
        part: String,
    },
    /// It has bytes behind the last section.
    #[error("{0} bytes behind the last section")]
    Trailing(usize),
    /// The table is larger than any.
    #[error(
        "{sections} sections in a table of {bytes} bytes: at most {MAX_SECTIONS} in {MAX_TABLE}"
    )]
    Table {
        /// The number of sections.
        sections: u32,
        /// The bytes of the table.
        bytes: u32,
    },
    /// The table has not the checksum that is written.
    #[error("the table is damaged")]
    TableChecksum,
    /// An entry of the table is malformed.
    #[error("section number {0} is malformed in the table")]
    Entry(usize),
    /// Two sections have the same id.
    #[error("section {0:?} is there twice")]
    Twice(String),
    /// A section has flags that this build does not know.
    #[error("section {id:?}: flags {flags:#x}")]
    Flags {
        /// The section's id.
        id: String,
        /// Its flags.
        flags: u16,
    },
    /// A section has not the checksum that is written.
    #[error("section {0:?} is damaged")]
    Checksum(String),
    /// A section that must be understood is not known.
    #[error("section {id:?} of kind {kind:?} must be understood, and is not known here")]
    Unknown {
        /// The section's id.
        id: String,
        /// Its kind.
        kind: String,
    },
}

/// Why a snapshot in a folder cannot be saved or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The host refused.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// The action that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The place of a snapshot is not a folder.
    #[error("{} is not a directory", .path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// Another snapshot is being saved there.
    #[error("{}: another snapshot is being saved there", .path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The container is longer than any that is written.
    #[error("{}: longer than {} bytes", .path.display(), crate::MAX_CONTAINER)]
    TooLong {
        /// The container.
        path: PathBuf,
    },
    /// The container is damaged, or of another version.
    #[error("{}", .path.display())]
    Damaged {
        /// The container.
        path: PathBuf,
        /// The reason.
        #[source]
        source: ReadError,
    },
    /// The container names no file with RAM.
    #[error("{}: names no RAM", .path.display())]
    NoRam {
        /// The container.
        path: PathBuf,
    },
    /// A snapshot that it builds on is not there.
    #[error("{}: the snapshot that it builds on, with {name}, is not beside it", .path.display())]
    NoBase {
        /// The folder of the snapshot that builds on it.
        path: PathBuf,
        /// The file with RAM that was sought.
        name: String,
    },
    /// A snapshot that another one builds on is not as it was.
    #[error(
        "{name}: was changed, or copied without its times, since another snapshot was built on it"
    )]
    BaseChanged {
        /// Its file with RAM.
        name: String,
    },
    /// A snapshot that another one would build on was removed or replaced.
    #[error("{name}: the snapshot that has it was removed or replaced")]
    BaseGone {
        /// Its file with RAM.
        name: String,
    },
    /// A snapshot would replace one that it builds on.
    #[error("{}: holds {name}, which the new snapshot builds on", .path.display())]
    HoldsBase {
        /// The folder.
        path: PathBuf,
        /// The file with RAM.
        name: String,
    },
    /// Too many snapshots build on each other.
    #[error("{MAX_CHAIN} snapshots build on each other, and no more can")]
    LongChain,
    /// A section cannot be written.
    #[error(transparent)]
    Section(WriteError),
}
