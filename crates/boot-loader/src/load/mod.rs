//! The whole way from files to an entry state.

use linux_loader::bootparam::setup_header;
use vmmkit_guest_memory::{GuestAddress, GuestRam};

use crate::elf::{ElfKernel, ImageFile};
use crate::kind::Kind;
use crate::memory_map::{
    ACPI_TABLES, ACPI_TABLES_SIZE, E820Entry, EBDA, HIGH_MEMORY, e820, low_ram_end, reserve,
};
use crate::payload::Compression;
use crate::zero_page::ZeroPage;
use crate::{
    BootSource, Entry, EntryChoice, LoadError, Platform, acpi, bzimage, cmdline, elf, initrd, kind,
    mp_table, page_tables, pvh, reset_vector,
};

/// What is in RAM now, and how to enter it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// How the boot processor enters the kernel.
    pub entry: Entry,
    /// What the kernel is.
    pub kernel: KernelInfo,
    /// Where the initrd is.
    pub initrd: Option<Placed>,
    /// The longest command line this kernel takes, in bytes without the NUL.
    pub cmdline_limit: u32,
    /// The memory map the kernel is told.
    pub e820: Vec<E820Entry>,
    /// The ACPI root pointer, where tables were written.
    pub rsdp: Option<GuestAddress>,
}

/// A range of guest RAM that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its first address.
    pub start: GuestAddress,
    /// Its size in bytes.
    pub size: u64,
}

/// What a kernel file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// The file's format.
    pub format: KernelFormat,
    /// How the kernel is entered.
    pub entry: EntryKind,
    /// Why [`EntryChoice::Auto`] did not take the payload of a bzImage.
    pub fallback: Option<Fallback>,
    /// The boot protocol of a bzImage: major, minor.
    pub protocol: Option<(u8, u8)>,
    /// How the payload of a bzImage is compressed, where that is known.
    pub compression: Option<Compression>,
    /// The version string of a bzImage.
    pub version: Option<String>,
    /// The kernel file's size in bytes.
    pub file_bytes: u64,
    /// Bytes of the kernel copied into RAM.
    pub placed_bytes: u64,
    /// The first address after all that the kernel needs before it reads its memory map.
    pub end: GuestAddress,
}

/// The format of a kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelFormat {
    /// An ELF vmlinux.
    Elf,
    /// A bzImage.
    BzImage,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The uncompressed kernel by the 64-bit Linux protocol.
    Linux64,
    /// The bzImage's own decompressor by the 64-bit Linux protocol.
    Setup,
    /// The uncompressed kernel by PVH.
    Pvh,
}

/// Why a bzImage is entered by its own decompressor, though none asked for that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The payload starts with these bytes, which no decompressor here knows (lzo, for one).
    UnknownPayload(Vec<u8>),
    /// The protocol is older than 2.08, or the header gives no payload.
    NoPayload,
}

/// A kernel in RAM, before anything is told to it.
struct Kernel {
    info: KernelInfo,
    address: u64,
    start: u64,
    header: Option<setup_header>,
    cmdline_limit: u32,
    initrd_max: u64,
}

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
    let (format, file_bytes) = kind::detect(source.kernel)?;
    let kernel = match format {
        Kind::Elf => load_elf(ram, source.kernel, file_bytes, source.entry)?,
        Kind::BzImage => load_bzimage(ram, source.kernel, file_bytes, source.entry)?,
    };
    let cmdline = cmdline::write(ram, source.cmdline, kernel.cmdline_limit)?;
    let initrd = source
        .initrd
        .map(|file| initrd::load(ram, file, kernel.info.end.0, kernel.initrd_max))
        .transpose()?;
    let rsdp = match platform.acpi {
        Some(config) => Some(acpi::write_tables(
            ram,
            config,
            ACPI_TABLES,
            ACPI_TABLES_SIZE,
        )?),
        None => None,
    };
    if platform.mp_table {
        mp_table::write(ram, platform.apic_ids, EBDA)?;
    }
    reset_vector::write(ram).map_err(|source| LoadError::Write {
        what: "the reset vector",
        source,
    })?;
    let mut loaded = Loaded {
        entry: Entry::Pvh {
            address: GuestAddress(kernel.address),
        },
        kernel: kernel.info.clone(),
        initrd,
        cmdline_limit: cmdline::limit_of(kernel.cmdline_limit),
        e820: memory_map(ram, platform),
        rsdp,
    };
    loaded.entry = describe(ram, &kernel, &loaded, cmdline)?;
    tracing::info!(
        format = ?loaded.kernel.format,
        entry = ?loaded.kernel.entry,
        address = %format_args!("{:#x}", kernel.address),
        fallback = ?loaded.kernel.fallback,
        kernel_bytes = loaded.kernel.placed_bytes,
        initrd_bytes = loaded.initrd.map(|initrd| initrd.size),
        acpi = loaded.rsdp.is_some(),
        "kernel loaded"
    );
    Ok(loaded)
}

/// What the kernel is told of its addresses.
fn memory_map(ram: &GuestRam, platform: &Platform) -> Vec<E820Entry> {
    let mut map = e820(ram);
    if let Some(host) = platform.acpi.and_then(|config| config.pci) {
        reserve(&mut map, GuestAddress(host.ecam), host.ecam_size());
    }
    map
}

/// Writes what the kernel is told, by the protocol it is entered by.
fn describe(
    ram: &GuestRam,
    kernel: &Kernel,
    loaded: &Loaded,
    cmdline: GuestAddress,
) -> Result<Entry, LoadError> {
    let failed = |what| move |source| LoadError::Write { what, source };
    let address = GuestAddress(kernel.address);
    if kernel.info.entry == EntryKind::Pvh {
        page_tables::write_gdt(ram, false).map_err(failed("the GDT"))?;
        pvh::write(ram, cmdline, loaded.initrd, &loaded.e820, loaded.rsdp)
            .map_err(failed("the PVH start info"))?;
        return Ok(Entry::Pvh { address });
    }
    page_tables::write_gdt(ram, true).map_err(failed("the GDT"))?;
    let root = page_tables::write_page_tables(ram).map_err(failed("the page tables"))?;
    ZeroPage {
        header: kernel.header,
        kernel: kernel.start,
        cmdline,
        cmdline_limit: loaded.cmdline_limit,
        initrd: loaded.initrd,
        e820: &loaded.e820,
        rsdp: loaded.rsdp,
    }
    .write(ram)
    .map_err(failed("the zero page"))?;
    Ok(Entry::Long {
        address,
        page_tables: GuestAddress(root),
    })
}

fn load_elf(
    ram: &GuestRam,
    file: &mut std::fs::File,
    file_bytes: u64,
    choice: EntryChoice,
) -> Result<Kernel, LoadError> {
    if choice == EntryChoice::Setup {
        return Err(LoadError::NoSetup);
    }
    let elf = elf::load(ram, &mut ImageFile::new(file, file_bytes))?;
    let (entry, address) = choose_elf_entry(&elf, choice)?;
    let info = KernelInfo {
        format: KernelFormat::Elf,
        entry,
        fallback: None,
        protocol: None,
        compression: None,
        version: None,
        file_bytes,
        placed_bytes: elf.placed,
        end: GuestAddress(elf.end),
    };
    Ok(Kernel {
        info,
        address,
        start: elf.start,
        header: None,
        cmdline_limit: cmdline::DEFAULT_LIMIT,
        initrd_max: initrd::DEFAULT_ADDRESS_MAX,
    })
}

/// The policy of [`EntryChoice`] for an ELF.
fn choose_elf_entry(elf: &ElfKernel, choice: EntryChoice) -> Result<(EntryKind, u64), LoadError> {
    let pvh_only = !elf.entry_is_loaded || elf.pvh.is_some_and(|(entry, _)| entry == elf.entry);
    if choice == EntryChoice::Pvh
        || (choice == EntryChoice::Auto && pvh_only && elf.pvh.is_some_and(|(_, loaded)| loaded))
    {
        return Ok((EntryKind::Pvh, elf.entry_pvh()?));
    }
    Ok((EntryKind::Linux64, elf.entry_64()?))
}

fn load_bzimage(
    ram: &GuestRam,
    file: &mut std::fs::File,
    file_bytes: u64,
    choice: EntryChoice,
) -> Result<Kernel, LoadError> {
    let header = bzimage::Header::read(file, file_bytes)?;
    let compression = bzimage::compression(file, &header)?;
    let mut info = KernelInfo {
        format: KernelFormat::BzImage,
        entry: EntryKind::Setup,
        fallback: None,
        protocol: Some(header.protocol()),
        compression: compression.as_ref().ok().copied(),
        version: bzimage::version(file, &header),
        file_bytes,
        placed_bytes: 0,
        end: GuestAddress(0),
    };
    let reach = header
        .address()
        .saturating_add(header.init_size().unwrap_or(header.code_size));
    let (address, start) = match (choice, compression) {
        (EntryChoice::Auto | EntryChoice::Payload | EntryChoice::Pvh, Ok(compression)) => {
            let elf = bzimage::load_payload(ram, file, &header, compression)?;
            let (entry, address) = choose_elf_entry(&elf, choice)?;
            info.entry = entry;
            info.placed_bytes = elf.placed;
            info.end = GuestAddress(reach.max(elf.end));
            (address, elf.start)
        }
        (EntryChoice::Payload | EntryChoice::Pvh, Err(start)) => {
            return Err(bzimage::unknown_payload(&header, start).into());
        }
        (EntryChoice::Auto | EntryChoice::Setup, compression) => {
            if choice == EntryChoice::Auto {
                info.fallback = compression.err().map(|start| {
                    if start.is_empty() {
                        Fallback::NoPayload
                    } else {
                        Fallback::UnknownPayload(start)
                    }
                });
            }
            let (address, placed) = bzimage::load_setup(ram, file, &header, file_bytes)?;
            info.placed_bytes = placed;
            info.end = GuestAddress(reach);
            (address, header.address())
        }
    };
    let initrd_max = u64::from(header.raw.initrd_addr_max);
    Ok(Kernel {
        info,
        address,
        start,
        header: Some(header.raw),
        cmdline_limit: header.raw.cmdline_size,
        initrd_max,
    })
}

#[cfg(test)]
mod tests;
