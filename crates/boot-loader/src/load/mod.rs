//! The whole way from files to an entry state.

mod files;
mod info;
mod kernel;
mod tell;

pub use info::{EntryKind, Fallback, KernelFormat, KernelInfo, Loaded, Placed};

use std::fs::File;

use vmmkit_guest_memory::{GuestAddress, GuestRam};
use vmmkit_telemetry::Occasions;

use crate::elf::LowSegment;
use crate::low_memory::{self, Used};
use crate::memory_map::{
    ACPI_TABLES, ACPI_TABLES_SIZE, E820Entry, EBDA, GENERATION_ID, HIGH_MEMORY, LOW_MEMORY_END,
    RESET_VECTOR, SMBIOS_ENTRY, SMBIOS_STRUCTURES, VM_CLOCK, e820, low_ram_end, reserve,
};
use crate::region::Region;
use crate::smbios::SmbiosTables;
use crate::{
    BootSource, Entry, KindError, LoadError, Platform, acpi, cmdline, kind, mp_table, reset_vector,
    smbios,
};
use kernel::Kernel;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// A guest that resets itself is loaded as often.
static LOADS: Occasions = Occasions::new();

/// Loads a kernel and all it is told into `ram`, which is best untouched.
///
/// # Errors
/// [`LoadError`] says which part is at fault, with the field and its value. RAM may hold parts of
/// the kernel then.
pub fn load(
    ram: &GuestRam,
    source: BootSource<'_>,
    platform: &Platform<'_>,
) -> Result<Loaded, LoadError> {
    let size = low_ram_end(ram);
    if size <= HIGH_MEMORY.0 {
        return Err(LoadError::RamTooSmall {
            size,
            least: HIGH_MEMORY.0 * 2,
        });
    }
    let image = regular(source.kernel)?;
    let kind = kind::detect(&image)?;
    let kernel = kernel::load(ram, &image, &kind, source.entry)?;
    let files = files::load(ram, &source, &kernel, (&image, &kind))?;
    let (rsdp, mut used) = describe(ram, &kernel, platform)?;
    let mut loaded = Loaded {
        entry: Entry::Pvh {
            address: GuestAddress(kernel.address),
        },
        kernel: kernel.info.clone(),
        initrd: files.initrd,
        modules: files.modules,
        cmdline_limit: cmdline::limit_of(kernel.cmdline_limit),
        e820: memory_map(ram, platform),
        rsdp,
    };
    let (entry, needed) = tell::tell(ram, &kernel, &loaded, source.cmdline, &files.list)?;
    loaded.entry = entry;
    used.extend(needed);
    low_memory::check(&kernel.low, &used)?;
    if let Some(count) = LOADS.next() {
        tracing::info!(
            format = ?loaded.kernel.format,
            entry = ?loaded.kernel.entry,
            address = %format_args!("{:#x}", kernel.address),
            fallback = ?loaded.kernel.fallback,
            kernel_bytes = loaded.kernel.placed_bytes,
            initrd_bytes = loaded.initrd.map(|initrd| initrd.size),
            modules = loaded.modules.len(),
            acpi = loaded.rsdp.is_some(),
            count,
            "kernel loaded"
        );
    }
    Ok(loaded)
}

/// All of the kernel's file.
fn regular(file: &File) -> Result<Region<'_>, KindError> {
    let metadata = file.metadata()?;
    match kind::irregular(&metadata.file_type()) {
        Some(kind) => Err(KindError::NotRegular { kind }),
        None => Ok(Region::new(file, 0, metadata.len())),
    }
}

/// Writes what describes the machine, by whatever protocol the kernel is entered; the answer is the
/// ACPI root pointer, and what of low memory is in use.
fn describe(
    ram: &GuestRam,
    kernel: &Kernel,
    platform: &Platform<'_>,
) -> Result<(Option<GuestAddress>, Vec<Used>), LoadError> {
    let mut used = Vec::new();
    let rsdp = match platform.acpi {
        Some(config) => Some(acpi::write_tables(
            ram,
            config,
            ACPI_TABLES,
            ACPI_TABLES_SIZE,
        )?),
        None => None,
    };
    if let (Some(config), false) = (platform.acpi, kernel.low.is_empty()) {
        let size = acpi::tables(config, ACPI_TABLES)?.len() as u64;
        used.push(Used::new("the ACPI tables", ACPI_TABLES, size));
        let size = VM_CLOCK.0 + PAGE - GENERATION_ID.0;
        used.push(Used::new("the VM generation ID", GENERATION_ID, size));
    }
    if platform.mp_table {
        mp_table::write(ram, platform.apic_ids, platform.oem, EBDA)?;
        let size = LOW_MEMORY_END.0.saturating_sub(EBDA.0);
        used.push(Used::new("the MP table", EBDA, size));
    }
    if let Some(tables) = platform.smbios {
        used.extend(write_smbios(ram, tables)?);
    }
    // Where a kernel lies there, it has its own way to reset the machine.
    let lies_there = |segment: &LowSegment| segment.end > RESET_VECTOR.0;
    if !kernel.low.iter().any(lies_there) {
        reset_vector::write(ram).map_err(|source| LoadError::Write {
            what: "the reset vector",
            source,
        })?;
    }
    Ok((rsdp, used))
}

fn write_smbios(ram: &GuestRam, tables: &SmbiosTables) -> Result<[Used; 2], LoadError> {
    let entry = tables.entry_point(SMBIOS_STRUCTURES.0);
    let parts = [
        (SMBIOS_STRUCTURES, tables.structures()),
        (SMBIOS_ENTRY, &entry),
    ];
    for (at, bytes) in parts {
        let what = "the SMBIOS tables";
        ram.write_bytes(at, bytes)
            .map_err(|source| LoadError::Write { what, source })?;
    }
    let used = |(at, bytes): (_, &[u8])| Used::new("the SMBIOS tables", at, bytes.len() as u64);
    Ok(parts.map(used))
}

/// The memory map that the kernel is given.
fn memory_map(ram: &GuestRam, platform: &Platform) -> Vec<E820Entry> {
    let mut map = e820(ram);
    if platform.smbios.is_some() {
        reserve(&mut map, SMBIOS_STRUCTURES, smbios::MAX_SIZE as u64);
    }
    if let Some(host) = platform.acpi.and_then(|config| config.pci)
        && let Some(ecam) = host.ecam
    {
        reserve(&mut map, GuestAddress(ecam), host.ecam_size());
    }
    map
}

#[cfg(test)]
mod tests;
