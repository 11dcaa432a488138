//! ACPI tables (ACPI 6.5, chapter 5): what a kernel cannot probe on this platform.
//!
//! | table | what |
//! | --- | --- |
//! | RSDP | revision 2, at the very start |
//! | FACS | empty; there is no sleep but S5 |
//! | DSDT | `\_S5` and one device each for what is there |
//! | FADT | fixed hardware, reset register, what a PC has and this one has not |
//! | MADT | local APICs, I/O APIC, interrupt overrides, NMI |
//! | SRAT | processors and memory, all of node 0, and where memory may be plugged |
//! | MCFG | configuration spaces of PCI, where there is PCI |
//! | XSDT | FADT, MADT, SRAT, MCFG |

mod aml;
mod config;
mod entry;
mod fadt;
mod generation;
mod header;
mod layout;
mod linked;
mod madt;
mod object;
mod pci;
mod srat;

#[cfg(test)]
mod tests;

use thiserror::Error;
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

pub use config::{
    AcpiConfig, AcpiDevice, AcpiId, AddressWindow, IoapicInfo, LegacyHardware, MemoryRange,
    PciHost, PmPorts, ResetRegister,
};
pub use linked::LinkedTables;
pub use object::AcpiObject;

/// Why there are no ACPI tables.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcpiError {
    /// The RSDP is looked for at every 16th byte, and the FACS must lie at a 64th.
    #[error("ACPI tables at {at:#x}: the address is not a multiple of 64")]
    Unaligned {
        /// The address.
        at: u64,
    },
    /// The tables would lie beyond the last address.
    #[error("ACPI tables at {at:#x} would not end in the address space")]
    AddressSpace {
        /// The address.
        at: u64,
    },
    /// The tables are larger than the room for them.
    #[error("ACPI tables of {size} bytes do not fit into {limit}")]
    DoesNotFit {
        /// Their size in bytes.
        size: u64,
        /// The room in bytes.
        limit: u64,
    },
    /// The interrupt of the fixed hardware is not one of the first 16.
    #[error("ACPI interrupt {sci}: it must be below 16")]
    Sci {
        /// The interrupt.
        sci: u32,
    },
    /// A sleep type has 3 bits.
    #[error("ACPI sleep type {sleep_type} of S5: it must be below 8")]
    SleepType {
        /// The sleep type.
        sleep_type: u8,
    },
    /// There is no name left for a device.
    #[error("{what} {index}: ACPI allows at most number {most}")]
    TooMany {
        /// The kind of device.
        what: &'static str,
        /// Its number.
        index: u32,
        /// The highest number.
        most: u32,
    },
    /// A device's range does not end in the address space.
    #[error("{what} {index}: {size:#x} bytes at {base:#x} are not a range of addresses")]
    Range {
        /// The kind of device.
        what: &'static str,
        /// Its number.
        index: u32,
        /// The first address.
        base: u64,
        /// The size in bytes.
        size: u64,
    },
    /// A device has four capital letters, digits or underscores for a name, of which the first is not a digit.
    #[error(
        "ACPI device {name:?}: a name is four of A to Z, 0 to 9 and _, and does not begin with a digit"
    )]
    Name {
        /// The name asked for.
        name: String,
    },
    /// Two devices have one name.
    #[error("ACPI device {name}: there are two")]
    Twice {
        /// The name.
        name: String,
    },
    /// The embedder's AML is larger than the room for it.
    #[error("ACPI device {name}: {size} bytes of AML, and {limit} is the maximum")]
    Object {
        /// The device.
        name: String,
        /// The size in bytes.
        size: usize,
        /// The maximum in bytes.
        limit: usize,
    },
    /// Guest RAM could not be written.
    #[error("cannot write ACPI tables at {at:#x}")]
    Write {
        /// The address.
        at: u64,
        /// The reason.
        #[source]
        source: AccessError,
    },
}

/// Writes the tables that describe `config` to `at`, which must be a multiple of 64; they take at
/// most `limit` bytes. Returns the address of the RSDP, which is `at`.
///
/// # Errors
/// [`AcpiError`] if `config` cannot be described, the tables are too large or not in RAM.
pub fn write_tables(
    ram: &GuestRam,
    config: &AcpiConfig,
    at: GuestAddress,
    limit: u64,
) -> Result<GuestAddress, AcpiError> {
    let bytes = tables(config, at)?;
    let size = bytes.len() as u64;
    if size > limit {
        return Err(AcpiError::DoesNotFit { size, limit });
    }
    ram.write_bytes(at, &bytes)
        .map_err(|source| AcpiError::Write { at: at.0, source })?;
    Ok(at)
}

/// The bytes of the tables that describe `config`, made to lie at `at`, which must be a multiple
/// of 64. They start with the RSDP. The same configuration gives the same bytes.
///
/// # Errors
/// [`AcpiError`] if `config` cannot be described.
pub fn tables(config: &AcpiConfig, at: GuestAddress) -> Result<Vec<u8>, AcpiError> {
    layout::build(config, at)
}
