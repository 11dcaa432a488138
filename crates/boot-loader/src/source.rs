//! What to load, and the machine it is loaded for.

use std::fs::File;

use crate::acpi::AcpiConfig;

/// A kernel, what goes with it, and how it is entered.
#[derive(Debug)]
pub struct BootSource<'a> {
    /// The kernel: an ELF vmlinux or a bzImage, told apart by content.
    pub kernel: &'a mut File,
    /// The initial RAM disk, passed on as it is.
    pub initrd: Option<&'a mut File>,
    /// The kernel's command line, without a terminating NUL.
    pub cmdline: &'a str,
    /// How the kernel is entered.
    pub entry: EntryChoice,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryChoice {
    /// What is fastest for the file. A bzImage: its payload, or its own decompressor where the
    /// payload is compressed in a way this crate cannot undo. An ELF: the 64-bit Linux entry where
    /// `e_entry` is a loaded physical address, or PVH where only that note says where to enter.
    #[default]
    Auto,
    /// The ELF inside a bzImage, decompressed here, by the 64-bit Linux entry.
    Payload,
    /// The bzImage's own decompressor, by its 64-bit entry.
    Setup,
    /// The 32-bit PVH entry that an ELF note of type 18 names.
    Pvh,
}

/// What the loader tells the kernel about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Platform<'a> {
    /// The APIC ID of each vCPU, that of the one that starts first.
    pub apic_ids: &'a [u32],
    /// The ACPI tables to write; none without.
    pub acpi: Option<&'a AcpiConfig>,
    /// Write an MP table (Intel MultiProcessor Specification 1.4) too.
    pub mp_table: bool,
}
