//! Structures that a kernel entered by PVH reads: start info, module list, memory map (Xen, "HVM direct boot
//! ABI", version 1).
//!
//! The structures are linux-loader's; its configurator takes counts that need not match the tables,
//! so each table is written here with its own count.

use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::memory_map::{BOOT_INFO, E820Entry, PVH_MEMORY_MAP, PVH_START_INFO};
use crate::multiboot::Module;

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// The version of the structure that has a memory map.
const VERSION: u32 = 1;

/// The size of the module list, with the strings in it.
pub(crate) fn modules_size(modules: &[Module]) -> u64 {
    let size = |module: &Module| {
        let size = size_of::<hvm_modlist_entry>() + module.text.len();
        (size as u64).saturating_add(1)
    };
    modules.iter().map(size).fold(0, u64::saturating_add)
}

/// Writes all three; `modules` fit the place for them.
pub(crate) fn write(
    ram: &GuestRam,
    cmdline: GuestAddress,
    modules: &[Module],
    e820: &[E820Entry],
    rsdp: Option<GuestAddress>,
) -> Result<(), AccessError> {
    let mut map_entries = 0;
    let mut at = PVH_MEMORY_MAP;
    for entry in e820 {
        let entry = hvm_memmap_table_entry {
            addr: entry.start.0,
            size: entry.size,
            type_: entry.kind as u32,
            reserved: 0,
        };
        ram.write(at, entry)?;
        at = GuestAddress(at.0.saturating_add(size_of_val(&entry) as u64));
        map_entries += 1;
    }
    write_modules(ram, modules)?;
    let count = u32::try_from(modules.len()).unwrap_or(0);
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: count,
        modlist_paddr: if count > 0 { BOOT_INFO.0 } else { 0 },
        cmdline_paddr: cmdline.0,
        rsdp_paddr: rsdp.map_or(0, |address| address.0),
        memmap_paddr: PVH_MEMORY_MAP.0,
        memmap_entries: map_entries,
        ..hvm_start_info::default()
    };
    ram.write(PVH_START_INFO, info)
}

/// The list, and behind it the strings.
fn write_modules(ram: &GuestRam, modules: &[Module]) -> Result<(), AccessError> {
    let entry_size = size_of::<hvm_modlist_entry>() as u64;
    let mut at = BOOT_INFO.0;
    let mut text_at = at.saturating_add(entry_size.saturating_mul(modules.len() as u64));
    for module in modules {
        let text = module.text.as_bytes();
        let entry = hvm_modlist_entry {
            paddr: module.placed.start.0,
            size: module.placed.size,
            cmdline_paddr: if text.is_empty() { 0 } else { text_at },
            ..hvm_modlist_entry::default()
        };
        ram.write(GuestAddress(at), entry)?;
        ram.write_bytes(GuestAddress(text_at), &[text, &[0]].concat())?;
        at = at.saturating_add(entry_size);
        text_at = text_at.saturating_add(text.len() as u64).saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Placed;
    use crate::memory_map::e820;
    use crate::testing::ram;

    #[test]
    fn start_info_points_to_modules_and_map() {
        let ram = ram(4);
        let module = |size, text: &str| Module {
            placed: Placed {
                start: GuestAddress(0x20_0000),
                size,
            },
            text: text.to_owned(),
        };
        let modules = [module(77, ""), module(78, "a=b")];
        assert_eq!(modules_size(&modules), 2 * 32 + 1 + 4);

        write(&ram, GuestAddress(0x2_0000), &modules, &e820(&ram), None).unwrap();

        let info: hvm_start_info = ram.read(PVH_START_INFO).unwrap();
        let module: hvm_modlist_entry = ram.read(GuestAddress(info.modlist_paddr)).unwrap();
        let first: hvm_memmap_table_entry = ram.read(GuestAddress(info.memmap_paddr)).unwrap();
        assert_eq!((info.magic, info.version, info.nr_modules), (MAGIC, 1, 2));
        assert_eq!((module.paddr, module.size), (0x20_0000, 77));
        assert_eq!(module.cmdline_paddr, 0);
        let second = GuestAddress(info.modlist_paddr + 32);
        let second: hvm_modlist_entry = ram.read(second).unwrap();
        let mut text = [0; 4];
        ram.read_bytes(GuestAddress(second.cmdline_paddr), &mut text)
            .unwrap();
        assert_eq!((second.size, &text), (78, b"a=b\0"));
        assert_eq!((first.addr, first.size, first.type_), (0, 0x9_fc00, 1));
        assert_eq!((info.memmap_entries, info.rsdp_paddr), (4, 0));
    }

    #[test]
    fn without_an_initrd_there_is_no_module() {
        let ram = ram(4);

        write(&ram, GuestAddress(0x2_0000), &[], &e820(&ram), None).unwrap();

        let info: hvm_start_info = ram.read(PVH_START_INFO).unwrap();
        assert_eq!((info.nr_modules, info.modlist_paddr), (0, 0));
    }
}
