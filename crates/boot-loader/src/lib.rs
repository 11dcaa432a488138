//! Loads a kernel into guest RAM: Linux as an ELF vmlinux, a unified kernel image or a bzImage, whose
//! payload is decompressed here at native speed; others by PVH or Multiboot. With it go the initrd, the command line, the zero page, PVH start info or Multiboot information,
//! the e820 map, GDT and page tables, ACPI tables and MP table.
//!
//! It is not a firmware and not a hypervisor: nothing runs here, and what comes out is plain data.
//! Start with [`load`], which answers with an [`Entry`] for the boot processor's registers.
//!
//! ```no_run
//! use std::fs::File;
//! use vmmkit_boot_loader::{BootSource, Platform, load};
//! use vmmkit_guest_memory::{GuestRam, RamConfig};
//!
//! let ram = GuestRam::new(&RamConfig::default())?;
//! let kernel = File::open("vmlinuz")?;
//! let source = BootSource::new(&kernel, "console=ttyS0");
//! let loaded = load(&ram, source, &Platform::of(&[0]))?;
//! println!("enter at {:#x}", loaded.entry.address().0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod oem;
mod source;

mod load;

mod file_kind;
mod kind;

mod elf;
mod little_endian;
mod region;

mod bzimage;
mod multiboot;
mod uki;

pub mod payload;

mod cmdline;
mod initrd;

pub mod acpi;
pub mod memory_map;
pub mod mp_table;
pub mod smbios;

mod low_memory;
mod page_tables;
mod pvh;
mod zero_page;

mod entry;
mod error;
mod firmware;
mod reset_vector;

#[cfg(test)]
mod testing;

pub use bzimage::BzImageError;
pub use cmdline::{CmdlineError, Parameter, parameter_words, parameters, with_parameters};
pub use elf::{ElfError, has_unused_pvh_entry};
pub use entry::Entry;
pub use error::{BootPart, LoadError};
pub use file_kind::FileKind;
pub use firmware::{Firmware, FirmwareError, is_uefi_firmware, load_firmware};
pub use initrd::InitrdError;
pub use kind::KindError;
pub use load::{EntryKind, Fallback, KernelFormat, KernelInfo, Loaded, Placed, load};
pub use multiboot::MultibootError;
pub use oem::Oem;
pub use source::{BootModule, BootSource, EntryChoice, Platform};
pub use uki::unified_cmdline;
