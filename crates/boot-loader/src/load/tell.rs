//! Boot information for the kernel, by the protocol that it is entered by.

use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use super::{EntryKind, Kernel, Loaded};
use crate::low_memory::Used;
use crate::memory_map::{
    BDA_BASE_MEMORY, BDA_EBDA_SEGMENT, BOOT_INFO, BOOT_INFO_SIZE, CMDLINE, EBDA, GDT, PAGE_TABLES,
    PVH_START_INFO, STACK_TOP, ZERO_PAGE,
};
use crate::multiboot::{self, Module, Told, Version};
use crate::page_tables::GDT_LIMIT;
use crate::zero_page::ZeroPage;
use crate::{Entry, LoadError, cmdline, page_tables, pvh};

/// EAX of a kernel entered by Multiboot: which version it is.
const MAGIC_1: u32 = 0x2bad_b002;
const MAGIC_2: u32 = 0x36d7_6289;
/// Multiboot's and PVH's structures are at most a page, Linux's is one.
const PAGE: u64 = 4096;
/// The page tables: 6 pages.
const PAGE_TABLES_SIZE: u64 = 6 * PAGE;

/// Writes all that `kernel` is told; the answer is how it is entered, and what of low memory is in use
/// for that.
pub(super) fn tell(
    ram: &GuestRam,
    kernel: &Kernel,
    loaded: &Loaded,
    cmdline: &str,
    modules: &[Module],
) -> Result<(Entry, Vec<Used>), LoadError> {
    let mut used = vec![Used::new("the GDT", GDT, u64::from(GDT_LIMIT) + 1)];
    let is_long = matches!(kernel.info.entry, EntryKind::Linux64 | EntryKind::Setup);
    page_tables::write_gdt(ram, is_long).map_err(failed("the GDT"))?;
    let entry = match kernel.info.entry {
        EntryKind::Multiboot1 => by_multiboot(
            ram,
            Version::One,
            (kernel, loaded),
            cmdline,
            modules,
            &mut used,
        )?,
        EntryKind::Multiboot2 => by_multiboot(
            ram,
            Version::Two,
            (kernel, loaded),
            cmdline,
            modules,
            &mut used,
        )?,
        EntryKind::Pvh => by_pvh(ram, (kernel, loaded), cmdline, modules, &mut used)?,
        _ => by_linux(ram, (kernel, loaded), cmdline, is_long, &mut used)?,
    };
    Ok((entry, used))
}

fn failed(what: &'static str) -> impl FnOnce(AccessError) -> LoadError {
    move |source| LoadError::Write { what, source }
}

fn write_cmdline(
    ram: &GuestRam,
    text: &str,
    limit: u32,
    used: &mut Vec<Used>,
) -> Result<GuestAddress, LoadError> {
    let size = (text.len() as u64).saturating_add(1);
    used.push(Used::new("the command line", CMDLINE, size));
    Ok(cmdline::write(ram, text, limit)?)
}

fn by_linux(
    ram: &GuestRam,
    (kernel, loaded): (&Kernel, &Loaded),
    cmdline: &str,
    is_long: bool,
    used: &mut Vec<Used>,
) -> Result<Entry, LoadError> {
    let cmdline = write_cmdline(ram, cmdline, kernel.cmdline_limit, used)?;
    used.push(Used::new("the zero page", ZERO_PAGE, PAGE));
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
    let address = GuestAddress(kernel.address);
    if !is_long {
        return Ok(Entry::Linux32 { address });
    }
    let stack = GuestAddress(STACK_TOP.0 & !(PAGE - 1));
    used.push(Used::new("the stack", stack, STACK_TOP.0 & (PAGE - 1)));
    used.push(Used::new("the page tables", PAGE_TABLES, PAGE_TABLES_SIZE));
    let root = page_tables::write_page_tables(ram).map_err(failed("the page tables"))?;
    Ok(Entry::Long {
        address,
        page_tables: GuestAddress(root),
    })
}

fn by_pvh(
    ram: &GuestRam,
    (kernel, loaded): (&Kernel, &Loaded),
    cmdline: &str,
    modules: &[Module],
    used: &mut Vec<Used>,
) -> Result<Entry, LoadError> {
    let (size, limit) = (pvh::modules_size(modules), u64::from(BOOT_INFO_SIZE));
    if size > limit {
        return Err(LoadError::ModulesTooMany { size, limit });
    }
    let cmdline = write_cmdline(ram, cmdline, kernel.cmdline_limit, used)?;
    used.push(Used::new("the PVH start info", PVH_START_INFO, PAGE));
    if size > 0 {
        used.push(Used::new("the PVH module list", BOOT_INFO, size));
    }
    pvh::write(ram, cmdline, modules, &loaded.e820, loaded.rsdp)
        .map_err(failed("the PVH start info"))?;
    Ok(Entry::Pvh {
        address: GuestAddress(kernel.address),
    })
}

fn by_multiboot(
    ram: &GuestRam,
    version: Version,
    (kernel, loaded): (&Kernel, &Loaded),
    cmdline: &str,
    modules: &[Module],
    used: &mut Vec<Used>,
) -> Result<Entry, LoadError> {
    cmdline::check(cmdline, kernel.cmdline_limit)?;
    let told = Told {
        cmdline: &format!("kernel {cmdline}"),
        modules,
        e820: &loaded.e820,
        rsdp: loaded.rsdp,
        kernel: kernel.start,
    };
    write_bda(ram).map_err(failed("the BIOS data area"))?;
    let size = multiboot::write(ram, version, &told)?;
    used.push(Used::new("the BIOS data area", BDA_EBDA_SEGMENT, 7));
    used.push(Used::new("the Multiboot information", BOOT_INFO, size));
    let magic = match version {
        Version::One => MAGIC_1,
        Version::Two => MAGIC_2,
    };
    Ok(Entry::Multiboot {
        address: GuestAddress(kernel.address),
        magic,
    })
}

/// Writes the size of low memory as a BIOS leaves it: Xen, for one, believes nothing else.
fn write_bda(ram: &GuestRam) -> Result<(), AccessError> {
    let field = |value: u64| u16::try_from(value).unwrap_or(0);
    ram.write(BDA_EBDA_SEGMENT, field(EBDA.0 >> 4))?;
    ram.write(BDA_BASE_MEMORY, field(EBDA.0 >> 10))
}
