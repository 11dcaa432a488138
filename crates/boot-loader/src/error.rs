//! Why nothing could be loaded.

use std::fmt;

use thiserror::Error;
use vmmkit_guest_memory::AccessError;

use crate::acpi::AcpiError;
use crate::mp_table::MpTableError;
use crate::{
    BzImageError, CmdlineError, ElfError, FirmwareError, InitrdError, KindError, MultibootError,
};

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
    /// The kernel is a faulty Multiboot kernel.
    #[error(transparent)]
    Multiboot(#[from] MultibootError),
    /// The entry that was asked for is not in the file.
    #[error("this kernel has no Multiboot header in its first 32 KiB")]
    NoMultiboot,
    /// A kernel that takes modules was not given, and modules were.
    #[error(
        "this kernel is entered by Linux's boot protocol, which knows an initrd and no modules"
    )]
    ModulesNotTaken,
    /// A boot module.
    #[error("module {index}")]
    Module {
        /// Which one, from 0, the initrd not counted.
        index: usize,
        /// Its fault, told as that of an initrd.
        #[source]
        source: InitrdError,
    },
    /// The modules' list has no room.
    #[error("the list of modules takes {size} bytes, and there is room for {limit}")]
    ModulesTooMany {
        /// Bytes needed.
        size: u64,
        /// Bytes there are.
        limit: u64,
    },
    /// A segment of the kernel lies where something is that it needs at entry.
    #[error(
        "program header {index}: p_paddr = {start:#x} to {end:#x} lies where {what} lies \
         ({used_start:#x} to {used_end:#x})"
    )]
    LowMemory {
        /// The segment's program header, from 0.
        index: usize,
        /// Its first address.
        start: u64,
        /// The first address after it.
        end: u64,
        /// The part that is in its way.
        what: &'static str,
        /// Where that begins.
        used_start: u64,
        /// The first address after that.
        used_end: u64,
    },
    /// The initrd.
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// The command line.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// The entry that was asked for is not in an ELF.
    #[error("an ELF kernel has no setup code, which is a bzImage's")]
    NoSetup,
    /// A unified kernel image holds no kernel that is loaded here.
    #[error("the section .linux of this unified kernel image is not a bzImage")]
    UkiKernel,
    /// RAM without the first mebibyte has no room for boot data.
    #[error("{} of guest RAM is too little: a kernel needs at least {}", shown(*size), shown(*least))]
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
        /// The part that was to be written.
        what: &'static str,
        /// The reason.
        #[source]
        source: AccessError,
    },
}

/// A part of what is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootPart {
    /// The kernel.
    Kernel,
    /// Firmware instead of a kernel.
    Firmware,
    /// The initial RAM disk.
    Initrd,
    /// A boot module by its index, from 0.
    Module(usize),
    /// The kernel's command line.
    Cmdline,
    /// The guest's RAM, where there is too little of it.
    Ram,
}

impl fmt::Display for BootPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Firmware => f.write_str("firmware"),
            Self::Initrd => f.write_str("initrd"),
            Self::Module(index) => write!(f, "module {index}"),
            Self::Cmdline => f.write_str("command line"),
            Self::Ram => f.write_str("RAM"),
        }
    }
}

impl LoadError {
    /// The part at fault; the kernel for all that is wrong between it and the others.
    pub fn part(&self) -> BootPart {
        match self {
            Self::Firmware(_) => BootPart::Firmware,
            Self::Initrd(_) => BootPart::Initrd,
            Self::Module { index, .. } => BootPart::Module(*index),
            Self::Cmdline(_) => BootPart::Cmdline,
            Self::RamTooSmall { .. } => BootPart::Ram,
            _ => BootPart::Kernel,
        }
    }
}

/// A number of bytes in the largest unit that it is a whole number of.
fn shown(bytes: u64) -> String {
    match bytes {
        1.. if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        1.. if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}
