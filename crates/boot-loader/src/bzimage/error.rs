//! Why a bzImage cannot be loaded.

use std::io;

use thiserror::Error;

use crate::elf::ElfError;
use crate::payload::Compression;

/// Why a bzImage cannot be loaded. Fields are named as the Linux/x86 boot protocol names them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BzImageError {
    /// The file ends too early.
    #[error("the bzImage is truncated: {size} of {needed} bytes ({what})")]
    Truncated {
        /// The part that lies beyond the end.
        what: String,
        /// The bytes it would take.
        needed: u64,
        /// The bytes there are.
        size: u64,
    },
    /// A protocol from before 2.02, whose command line has another place.
    #[error(
        "this bzImage has boot protocol {major}.{minor:02} (version): 2.02 or later is needed \
         (Linux 2.4.0)"
    )]
    Protocol {
        /// The protocol's major number.
        major: u8,
        /// The protocol's minor number.
        minor: u8,
    },
    /// A header field with a value that cannot be.
    #[error("{field} = {value:#x} in the bzImage's setup header: {rule}")]
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
        "this kernel needs init_size = {init_size:#x} bytes at pref_address = {address:#x}, and \
         guest RAM ends at {ram_end:#x}: give the guest more memory"
    )]
    OutsideRam {
        /// Bytes needed.
        init_size: u64,
        /// From where.
        address: u64,
        /// The end of the RAM below the MMIO hole.
        ram_end: u64,
    },
    /// The entry that was asked for is not in this kernel.
    #[error("this bzImage has no {entry}: {reason}")]
    NoEntry {
        /// The entry asked for.
        entry: &'static str,
        /// Why not.
        reason: String,
    },
    /// It has an entry in real mode alone, and needs a BIOS there.
    #[error("this bzImage ({name}) can be entered in real mode alone, where it needs a BIOS")]
    RealMode {
        /// Its version string, which may be empty.
        name: String,
    },
    /// A payload that this crate cannot decompress.
    #[error(
        "the payload starts with {start:02x?} (payload_offset = {offset:#x}): not a compression \
         known here; enter by the kernel's own decompressor"
    )]
    UnknownPayload {
        /// The first bytes.
        start: Vec<u8>,
        /// The payload's offset in the protected-mode code.
        offset: u32,
    },
    /// A payload whose decompressed size does not add up.
    #[error(
        "the payload says it decompresses to {claimed} bytes, more than init_size = {limit:#x}"
    )]
    PayloadSize {
        /// The size at the payload's end.
        claimed: u64,
        /// The limit of the header.
        limit: u64,
    },
    /// The payload's data are damaged.
    #[error("cannot decompress the {compression} payload")]
    Payload {
        /// The compression.
        compression: Compression,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The payload's ELF cannot be loaded.
    #[error("the kernel in the {compression} payload cannot be loaded")]
    PayloadElf {
        /// The compression.
        compression: Compression,
        /// The reason.
        #[source]
        source: ElfError,
    },
    /// The file could not be read.
    #[error("cannot read {what} of the bzImage")]
    Read {
        /// The part that was to be read.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}
