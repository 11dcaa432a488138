//! What a kernel entered by PVH reads: start info, module list, memory map (Xen, "HVM direct boot
//! ABI", version 1).
//!
//! The structures are linux-loader's; its configurator takes counts that need not match the tables,
//! so each table is written here with its own count.

use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::Placed;
use crate::memory_map::{E820Entry, PVH_MEMORY_MAP, PVH_MODULES, PVH_START_INFO};

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// The version of the structure that has a memory map.
const VERSION: u32 = 1;

/// Writes all three.
pub(crate) fn write(
    ram: &GuestRam,
    cmdline: GuestAddress,
    initrd: Option<Placed>,
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
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.start.0,
            size: initrd.size,
            ..hvm_modlist_entry::default()
        };
        ram.write(PVH_MODULES, module)?;
    }
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: u32::from(initrd.is_some()),
        modlist_paddr: if initrd.is_some() { PVH_MODULES.0 } else { 0 },
        cmdline_paddr: cmdline.0,
        rsdp_paddr: rsdp.map_or(0, |address| address.0),
        memmap_paddr: PVH_MEMORY_MAP.0,
        memmap_entries: map_entries,
        ..hvm_start_info::default()
    };
    ram.write(PVH_START_INFO, info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_map::e820;
    use crate::testing::ram;

    #[test]
    fn start_info_points_to_modules_and_map() {
        let ram = ram(4);
        let initrd = Placed {
            start: GuestAddress(0x20_0000),
            size: 77,
        };

        write(
            &ram,
            GuestAddress(0x2_0000),
            Some(initrd),
            &e820(&ram),
            None,
        )
        .unwrap();

        let info: hvm_start_info = ram.read(PVH_START_INFO).unwrap();
        let module: hvm_modlist_entry = ram.read(GuestAddress(info.modlist_paddr)).unwrap();
        let first: hvm_memmap_table_entry = ram.read(GuestAddress(info.memmap_paddr)).unwrap();
        assert_eq!((info.magic, info.version, info.nr_modules), (MAGIC, 1, 1));
        assert_eq!((module.paddr, module.size), (0x20_0000, 77));
        assert_eq!((first.addr, first.size, first.type_), (0, 0x9_fc00, 1));
        assert_eq!((info.memmap_entries, info.rsdp_paddr), (4, 0));
    }

    #[test]
    fn without_an_initrd_there_is_no_module() {
        let ram = ram(4);

        write(&ram, GuestAddress(0x2_0000), None, &e820(&ram), None).unwrap();

        let info: hvm_start_info = ram.read(PVH_START_INFO).unwrap();
        assert_eq!((info.nr_modules, info.modlist_paddr), (0, 0));
    }
}
