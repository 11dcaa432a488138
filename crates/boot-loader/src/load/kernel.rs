//! The kernel's own bytes: into RAM, and the choice of how they are entered.

use linux_loader::bootparam::setup_header;
use vmmkit_guest_memory::{GuestAddress, GuestRam};

use super::{EntryKind, Fallback, KernelFormat, KernelInfo};
use crate::elf::{ElfError, ElfKernel, LowSegment};
use crate::kind::{self, Kind};
use crate::multiboot::{Found, MultibootError, Version, load_flat};
use crate::region::Region;
use crate::{EntryChoice, LoadError, bzimage, cmdline, elf, initrd};

/// A kernel in RAM, before anything is told to it.
pub(super) struct Kernel {
    pub(super) info: KernelInfo,
    pub(super) address: u64,
    pub(super) start: u64,
    pub(super) header: Option<setup_header>,
    pub(super) cmdline_limit: u32,
    pub(super) initrd_max: u64,
    pub(super) low: Vec<LowSegment>,
}

/// Loads the kernel in `file`, which is of `kind`.
pub(super) fn load(
    ram: &GuestRam,
    file: &Region<'_>,
    kind: &Kind,
    choice: EntryChoice,
) -> Result<Kernel, LoadError> {
    match kind {
        Kind::Elf(multiboot) => load_elf(ram, file, choice, multiboot.as_ref()),
        Kind::BzImage => load_bzimage(ram, file, choice),
        Kind::Flat(found) => load_flat_kernel(ram, file, choice, found),
        Kind::Uki(uki) => {
            let inner = uki.kernel.of(file);
            let Kind::BzImage = kind::detect(&inner)? else {
                return Err(LoadError::UkiKernel);
            };
            let mut kernel = load_bzimage(ram, &inner, choice)?;
            kernel.info.format = KernelFormat::Unified;
            kernel.info.file_bytes = file.size();
            Ok(kernel)
        }
    }
}

fn load_elf(
    ram: &GuestRam,
    file: &Region<'_>,
    choice: EntryChoice,
    multiboot: Option<&Found>,
) -> Result<Kernel, LoadError> {
    let flat = multiboot.filter(|found| found.has_addresses());
    match (choice, flat) {
        (EntryChoice::Setup, _) => return Err(LoadError::NoSetup),
        // The addresses of a Multiboot header have precedence over the ELF's.
        (EntryChoice::Multiboot, Some(found)) => return load_flat_kernel(ram, file, choice, found),
        _ => {}
    }
    let mut image = *file;
    let elf = match (elf::load(ram, &mut image), flat) {
        (Ok(elf), _) => elf,
        (Err(_), Some(found)) if choice == EntryChoice::Auto => {
            return load_flat_kernel(ram, file, choice, found);
        }
        (Err(error), _) => return Err(error.into()),
    };
    let (entry, address) = choose(&elf, choice, multiboot)?;
    if let (EntryKind::Multiboot1 | EntryKind::Multiboot2, Some(found)) = (entry, flat) {
        return load_flat_kernel(ram, file, choice, found);
    }
    let cmdline_limit = match entry {
        EntryKind::Multiboot1 | EntryKind::Multiboot2 => u32::MAX,
        _ => cmdline::DEFAULT_LIMIT,
    };
    Ok(Kernel {
        info: info(KernelFormat::Elf, entry, file.size(), elf.placed, elf.end),
        address,
        start: elf.start,
        header: None,
        cmdline_limit,
        initrd_max: initrd::DEFAULT_ADDRESS_MAX,
        low: elf.low,
    })
}

fn info(format: KernelFormat, entry: EntryKind, file: u64, placed: u64, end: u64) -> KernelInfo {
    KernelInfo {
        format,
        entry,
        fallback: None,
        protocol: None,
        compression: None,
        version: None,
        file_bytes: file,
        placed_bytes: placed,
        end: GuestAddress(end),
    }
}

/// The policy of [`EntryChoice`] for an ELF with this Multiboot header.
fn choose(
    elf: &ElfKernel,
    choice: EntryChoice,
    multiboot: Option<&Found>,
) -> Result<(EntryKind, u64), LoadError> {
    let has_pvh = elf.pvh.is_some_and(|(_, is_loaded)| is_loaded);
    match (choice, multiboot) {
        (EntryChoice::Pvh, _) => by_pvh(elf),
        (EntryChoice::Multiboot, Some(found)) => by_multiboot(elf, found),
        (EntryChoice::Multiboot, None) => Err(LoadError::NoMultiboot),
        (EntryChoice::Auto, _) if !elf.is_linux && has_pvh => by_pvh(elf),
        (EntryChoice::Auto, Some(found)) if !elf.is_linux => by_multiboot(elf, found),
        (EntryChoice::Auto, None) if !elf.is_linux && elf.is_32_bit => {
            Err(ElfError::NoEntry32.into())
        }
        (EntryChoice::Auto, _) => linux_or_pvh(elf, has_pvh),
        _ => by_linux(elf),
    }
}

/// Linux's own entry, unless the PVH note alone says where to enter.
fn linux_or_pvh(elf: &ElfKernel, has_pvh: bool) -> Result<(EntryKind, u64), LoadError> {
    let is_pvh = elf.pvh.is_some_and(|(entry, _)| entry == elf.entry);
    if has_pvh && (is_pvh || !elf.entry_is_loaded) {
        by_pvh(elf)
    } else {
        by_linux(elf)
    }
}

fn by_pvh(elf: &ElfKernel) -> Result<(EntryKind, u64), LoadError> {
    let address = below_4_gib("the PVH note's entry", elf.entry_pvh()?)?;
    Ok((EntryKind::Pvh, address))
}

fn by_linux(elf: &ElfKernel) -> Result<(EntryKind, u64), LoadError> {
    let kind = match elf.is_32_bit {
        true => EntryKind::Linux32,
        false => EntryKind::Linux64,
    };
    Ok((kind, elf.entry()?))
}

fn by_multiboot(elf: &ElfKernel, found: &Found) -> Result<(EntryKind, u64), LoadError> {
    let address = match found.entry {
        Some(entry) => entry.into(),
        None => elf.entry_multiboot()?,
    };
    Ok((kind_of(found)?, below_4_gib("e_entry", address)?))
}

/// 32-bit code cannot be above.
fn below_4_gib(field: &'static str, value: u64) -> Result<u64, ElfError> {
    if value >> 32 == 0 {
        return Ok(value);
    }
    let rule = "32-bit code must be below 4 GiB";
    Err(ElfError::Header { field, value, rule })
}

/// How `found` has its kernel entered, if it asks for no more than is offered.
fn kind_of(found: &Found) -> Result<EntryKind, MultibootError> {
    match (found.lacks, found.version) {
        (Some((what, number)), _) => Err(MultibootError::Required { what, number }),
        (None, Version::One) => Ok(EntryKind::Multiboot1),
        (None, Version::Two) => Ok(EntryKind::Multiboot2),
    }
}

fn load_flat_kernel(
    ram: &GuestRam,
    file: &Region<'_>,
    choice: EntryChoice,
    found: &Found,
) -> Result<Kernel, LoadError> {
    match choice {
        EntryChoice::Auto | EntryChoice::Multiboot => {}
        EntryChoice::Setup => return Err(LoadError::NoSetup),
        EntryChoice::Payload | EntryChoice::Pvh => return Err(ElfError::NoPvhNote.into()),
    }
    let entry = kind_of(found)?;
    let Some(flat) = load_flat(ram, file, found)? else {
        return Err(LoadError::NoMultiboot);
    };
    Ok(Kernel {
        info: info(
            KernelFormat::Flat,
            entry,
            file.size(),
            flat.placed,
            flat.end,
        ),
        address: flat.entry,
        start: flat.start,
        header: None,
        cmdline_limit: u32::MAX,
        initrd_max: initrd::DEFAULT_ADDRESS_MAX,
        low: vec![LowSegment {
            index: 0,
            start: flat.start,
            end: flat.end,
        }],
    })
}

fn load_bzimage(
    ram: &GuestRam,
    file: &Region<'_>,
    choice: EntryChoice,
) -> Result<Kernel, LoadError> {
    if choice == EntryChoice::Multiboot {
        return Err(LoadError::NoMultiboot);
    }
    let header = bzimage::Header::read(file)?;
    let compression = bzimage::compression(file, &header)?;
    let format = KernelFormat::BzImage;
    let mut info = info(format, EntryKind::Setup, file.size(), 0, 0);
    info.protocol = Some(header.protocol());
    info.compression = compression.as_ref().ok().copied();
    info.version = bzimage::version(file, &header);
    let reach = header
        .address()
        .saturating_add(header.init_size().unwrap_or(header.code_size));
    let (address, start) = match (choice, compression) {
        (EntryChoice::Auto | EntryChoice::Payload | EntryChoice::Pvh, Ok(compression)) => {
            let mut elf = bzimage::load_payload(ram, file, &header, compression)?;
            elf.is_linux = true;
            let (entry, address) = choose(&elf, choice, None)?;
            info.entry = entry;
            info.placed_bytes = elf.placed;
            info.end = GuestAddress(reach.max(elf.end));
            (address, elf.start)
        }
        (EntryChoice::Payload | EntryChoice::Pvh, Err(start)) => {
            return Err(bzimage::unknown_payload(&header, start).into());
        }
        (_, compression) => {
            if choice == EntryChoice::Auto {
                info.fallback = compression.err().map(fallback);
            }
            let setup = bzimage::load_setup(ram, file, &header)?;
            if !setup.is_64_bit {
                info.entry = EntryKind::Setup32;
            }
            info.placed_bytes = setup.placed;
            info.end = GuestAddress(reach);
            (setup.address, header.address())
        }
    };
    Ok(Kernel {
        info,
        address,
        start,
        header: Some(header.raw),
        cmdline_limit: header.cmdline_limit(),
        initrd_max: header.initrd_max(),
        low: Vec::new(),
    })
}

fn fallback(start: Vec<u8>) -> Fallback {
    if start.is_empty() {
        Fallback::NoPayload
    } else {
        Fallback::UnknownPayload(start)
    }
}
