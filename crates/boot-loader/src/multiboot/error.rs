//! Why a Multiboot kernel cannot be loaded.

use std::io;

use thiserror::Error;
use vmmkit_guest_memory::AccessError;

/// Why a Multiboot kernel cannot be loaded. Fields are named as the specifications name them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MultibootError {
    /// It cannot do without something that is not offered here.
    #[error("its Multiboot header requires {what} {number}, which is not offered")]
    Required {
        /// `flag` or `tag`.
        what: &'static str,
        /// The number of the bit or the type of the tag.
        number: u32,
    },
    /// An address field with a value that cannot be.
    #[error("{field} = {value:#x} in the Multiboot header: {rule}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The kernel does not fit RAM.
    #[error(
        "this Multiboot kernel needs {size:#x} bytes at load_addr = {address:#x}, and guest RAM ends \
         at {ram_end:#x}: give the guest more memory"
    )]
    OutsideRam {
        /// Where it goes.
        address: u64,
        /// Bytes needed there.
        size: u64,
        /// The end of the RAM below the MMIO hole.
        ram_end: u64,
    },
    /// The information has no room.
    #[error(
        "the Multiboot information takes {size} bytes, with its command lines and modules, and there \
         is room for {limit}"
    )]
    TooMuchToTell {
        /// Bytes needed.
        size: usize,
        /// Bytes there are.
        limit: usize,
    },
    /// The file could not be read.
    #[error("cannot read the Multiboot kernel")]
    Read(#[source] io::Error),
    /// Guest RAM could not be written.
    #[error("cannot write what a Multiboot kernel is told")]
    Ram(#[from] AccessError),
}
