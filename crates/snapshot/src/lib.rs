//! The container of saved states: sections in one file, each with an id, a kind, a version and a checksum.
//!
//! It knows no device and no form: contents are bytes, and what writes them says what they are. A container is
//! input from a stranger: [`Reader`] checks every length before it uses it, allocates for its table alone, and
//! borrows the contents. Start with [`Writer`]; a [`Folder`] keeps one on a disk, with RAM beside it, a
//! [`Pair`] at two paths of its user's choice, and a [`stream`] takes one to another process.
//!
//! ```
//! use vmmkit_snapshot::{Reader, Section, Writer};
//!
//! let mut writer = Writer::new();
//! writer.add(Section {
//!     id: "serial",
//!     kind: "serial-16550a",
//!     version: 1,
//!     must_understand: true,
//!     contents: b"{}",
//! })?;
//! let file = writer.finish();
//!
//! let mut reader = Reader::new(&file)?;
//! let serial = reader.take("serial").ok_or("no serial port")?;
//! assert_eq!((serial.kind, serial.contents), ("serial-16550a", &b"{}"[..]));
//! // Sections that nobody took are an error where they must be understood.
//! assert_eq!(reader.finish()?, []);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format, version 1
//!
//! All numbers are little-endian.
//!
//! ```text
//! offset  bytes
//!      0      8  "VMMKITSS"
//!      8      4  version of the container: 1
//!     12      4  number of sections, at most 1024
//!     16      4  bytes of the table, at most 262,144
//!     20      4  CRC-32C of the table
//!     24         the table: for each section
//!                  1  bytes of the id, 1 to 64    1  bytes of the kind, 1 to 64
//!                  2  flags: bit 0, must be understood
//!                  4  version of the contents     4  CRC-32C of the contents
//!                  8  bytes of the contents
//!                     the id, the kind: letters, digits, "-", "_" and "."
//!                the contents of the sections, in the order of the table, and nothing behind them
//! ```
#![forbid(unsafe_code)]

mod chain;
mod crc32c;
mod error;
mod folder;
mod lineage;
mod opened;
mod pair;
mod reader;
pub mod stream;
mod writer;

pub use chain::{Chain, Link};
pub use error::{FolderError, NameFault, ReadError, WriteError};
pub use folder::{Folder, MAX_CONTAINER};
pub use lineage::{Lineage, RamFile};
pub use opened::Snapshot;
pub use pair::{Pair, RamOver};
pub use reader::Reader;
pub use writer::Writer;

/// The first bytes of a container.
pub const MAGIC: [u8; 8] = *b"VMMKITSS";
/// The version of the container that is written.
pub const VERSION: u32 = 1;
/// The most sections.
pub const MAX_SECTIONS: usize = 1024;
/// The longest id, and the longest kind, in bytes.
pub const MAX_NAME: usize = 64;
/// The most snapshots that build on each other.
pub const MAX_CHAIN: usize = 16;
/// The longest table, in bytes.
pub const MAX_TABLE: usize = 1 << 18;

/// Bytes before the table.
const HEADER: usize = 24;
/// Bytes of an entry of the table before its id.
const ENTRY: usize = 20;
/// The flag of a section that must be understood.
const MUST_UNDERSTAND: u16 = 1;

/// A section of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its part in the machine: `blk0`. No two sections have the same.
    pub id: &'a str,
    /// The kind of contents.
    pub kind: &'a str,
    /// The version of that kind.
    pub version: u32,
    /// A reader that does not know the section must refuse the whole.
    pub must_understand: bool,
    /// The contents.
    pub contents: &'a [u8],
}

/// Checks an id or a kind.
fn check_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(NameFault::Length(name.len()));
    }
    let is_possible = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name.bytes().find(|byte| !is_possible(*byte)) {
        Some(byte) => Err(NameFault::Byte(byte)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
