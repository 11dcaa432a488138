//! Why nothing could be loaded.

use thiserror::Error;
use vmmkit_guest_memory::AccessError;

use crate::acpi::AcpiError;
use crate::mp_table::MpTableError;
use crate::{BzImageError, CmdlineError, ElfError, FirmwareError, InitrdError, KindError};

/// Why nothing could be loaded: by the part that was at fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The kernel is not a file of a kind that is loaded here.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// The kernel is a faulty ELF.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The kernel is a faulty bzImage.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// The initrd.
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// The command line.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// The entry that was asked for is not in an ELF.
    #[error("an ELF kernel has no setup code: choose another entry than the bzImage's own")]
    NoSetup,
    /// RAM without the first mebibyte has no room for boot data.
    #[error("{size} bytes of guest RAM are too few: a kernel needs at least {least}")]
    RamTooSmall {
        /// The size of RAM below the MMIO hole.
        size: u64,
        /// The least that is needed.
        least: u64,
    },
    /// The firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The ACPI tables.
    #[error("cannot write the ACPI tables")]
    Acpi(#[from] AcpiError),
    /// The MP table.
    #[error("cannot write the MP table")]
    MpTable(#[from] MpTableError),
    /// Boot data could not be written.
    #[error("cannot write {what}")]
    Write {
        /// What was to be written.
        what: &'static str,
        /// The reason.
        #[source]
        source: AccessError,
    },
}
