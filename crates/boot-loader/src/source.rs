//! The files to load, and the machine they are loaded for.

use std::fs::File;
use std::path::Path;

use crate::Oem;
use crate::acpi::AcpiConfig;
use crate::smbios::SmbiosTables;

/// A kernel, what goes with it, and how it is entered.
#[derive(Debug)]
#[non_exhaustive]
pub struct BootSource<'a> {
    /// The kernel: an ELF, a bzImage, a unified kernel image or a flat Multiboot kernel, told apart by
    /// content.
    pub kernel: &'a File,
    /// The initial RAM disk, passed on as it is; instead of that in a unified kernel image. A kernel
    /// that takes modules gets it as the first of them.
    pub initrd: Option<&'a File>,
    /// Take any file as an initrd, also one that Linux would not.
    pub any_initrd: bool,
    /// Boot modules, for a kernel entered by PVH or Multiboot.
    pub modules: &'a [BootModule],
    /// The kernel's command line, without a terminating NUL.
    pub cmdline: &'a str,
    /// How the kernel is entered.
    pub entry: EntryChoice,
}

impl<'a> BootSource<'a> {
    /// The kernel alone with this command line, entered as [`EntryChoice::Auto`] says.
    pub const fn new(kernel: &'a File, cmdline: &'a str) -> Self {
        Self {
            kernel,
            initrd: None,
            any_initrd: false,
            modules: &[],
            cmdline,
            entry: EntryChoice::Auto,
        }
    }
}

/// A file that a kernel entered by PVH or Multiboot gets beside its initrd.
#[derive(Debug)]
pub struct BootModule {
    /// The file, passed on as it is.
    pub file: File,
    /// Its name: Multiboot has it as the first word of the module's string.
    pub name: String,
    /// Text that is passed with it, for example a command line of its own.
    pub arguments: String,
}

impl BootModule {
    /// `file`, which was opened at `path`, and what is told with it; its name is the path's last part.
    pub fn new(file: File, path: &Path, arguments: &str) -> Self {
        let name = path.file_name().unwrap_or_default();
        Self {
            file,
            name: name.to_string_lossy().into_owned(),
            arguments: arguments.to_owned(),
        }
    }
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryChoice {
    /// The fastest for Linux: of a bzImage its payload, or its own decompressor where the
    /// payload is compressed in a way this crate cannot undo; of an ELF the entry by Linux's boot
    /// protocol where `e_entry` is a loaded physical address. An ELF that no note says to be Linux is
    /// entered by PVH or else Multiboot, where it names such an entry.
    #[default]
    Auto,
    /// An ELF, or the one inside a bzImage, decompressed here, by Linux's boot protocol.
    Payload,
    /// The bzImage's own decompressor, by its 64-bit entry or else its 32-bit one.
    Setup,
    /// The 32-bit PVH entry that an ELF note of type 18 names.
    Pvh,
    /// As the Multiboot header in the file's first 32 KiB says.
    Multiboot,
}

/// The machine as the loader describes it to the kernel.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Platform<'a> {
    /// The APIC ID of each vCPU, that of the one that starts first.
    pub apic_ids: &'a [u32],
    /// The ACPI tables to write; none without.
    pub acpi: Option<&'a AcpiConfig>,
    /// Write an MP table (Intel MultiProcessor Specification 1.4) too.
    pub mp_table: bool,
    /// The SMBIOS tables to write; none without.
    pub smbios: Option<&'a SmbiosTables>,
    /// The maker that the MP table names; the ACPI tables have their own.
    pub oem: Oem,
}

impl<'a> Platform<'a> {
    /// A machine with these vCPUs that is described by no table.
    pub const fn of(apic_ids: &'a [u32]) -> Self {
        Self {
            apic_ids,
            acpi: None,
            mp_table: false,
            smbios: None,
            oem: Oem::DEFAULT,
        }
    }
}
