//! Where everything lies in the first mebibyte, and the e820 map that tells the kernel.
//!
//! | address | what |
//! | --- | --- |
//! | 0x400 | BIOS data area: where the EBDA is, and where RAM below it ends (for Multiboot) |
//! | 0x500 | GDT, 5 entries |
//! | 0x6000 | PVH start info and its memory map |
//! | 0x7000 | zero page (`struct boot_params`) |
//! | 0x8000 - 0x8ff0 | stack at entry, growing down |
//! | 0x9000 | page tables: PML4, PDPT, 4 page directories |
//! | 0x10000 | PVH module list, or Multiboot information, at most 64 KiB |
//! | 0x20000 | command line, at most 64 KiB |
//! | 0x9fc00 | EBDA, 1 KiB: MP table |
//! | 0xa0000 | no RAM for the kernel: where a PC has VGA and option ROMs |
//! | 0xd0000 | SMBIOS structures, at most 64 KiB |
//! | 0xe0000 | ACPI tables, 116 KiB |
//! | 0xfd000 | the VM generation ID's page, then the VMClock's |
//! | 0xff000 | SMBIOS entry point |
//! | 0xffff0 | reset vector: code that resets the machine |
//! | 0x100000 | the kernel, then nothing of ours but the initrd, as high as it may be, and modules |
//!
//! A kernel that begins lower may lie wherever nothing of this is that its entry needs.

use vmmkit_guest_memory::{GuestAddress, GuestRam, MMIO_HOLE_START};

/// The BIOS data area's segment of the EBDA, 16 bits.
pub const BDA_EBDA_SEGMENT: GuestAddress = GuestAddress(0x40e);
/// The BIOS data area's KiB of RAM from address 0 on, 16 bits.
pub const BDA_BASE_MEMORY: GuestAddress = GuestAddress(0x413);
/// The global descriptor table.
pub const GDT: GuestAddress = GuestAddress(0x500);
/// `struct hvm_start_info` of the PVH protocol.
pub const PVH_START_INFO: GuestAddress = GuestAddress(0x6000);
/// The PVH memory map.
pub const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x6200);
/// The zero page: `struct boot_params`, 4 KiB.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// The stack pointer at entry.
pub const STACK_TOP: GuestAddress = GuestAddress(0x8ff0);
/// The page tables: 6 pages.
pub const PAGE_TABLES: GuestAddress = GuestAddress(0x9000);
/// The PVH module list, or the information for a Multiboot kernel.
pub const BOOT_INFO: GuestAddress = GuestAddress(0x1_0000);
/// Room for it, in bytes.
pub const BOOT_INFO_SIZE: u32 = 0x1_0000;
/// The command line.
pub const CMDLINE: GuestAddress = GuestAddress(0x2_0000);
/// Room for the command line with its NUL, in bytes.
pub const CMDLINE_SIZE: u32 = 0x1_0000;
/// The extended BIOS data area: holds the MP table.
pub const EBDA: GuestAddress = GuestAddress(0x9_fc00);
/// The first address above the EBDA; RAM for the kernel goes on at [`HIGH_MEMORY`].
pub const LOW_MEMORY_END: GuestAddress = GuestAddress(0xa_0000);
/// The SMBIOS structures, at most [`MAX_SIZE`](crate::smbios::MAX_SIZE).
pub const SMBIOS_STRUCTURES: GuestAddress = GuestAddress(0xd_0000);
/// The SMBIOS entry point: kernels look for it from 0xf0000 on (DSP0134, 5.2.2).
pub const SMBIOS_ENTRY: GuestAddress = GuestAddress(0xf_f000);
/// The ACPI tables; the RSDP is found here even by a search (ACPI 6.5, 5.2.5.1).
pub const ACPI_TABLES: GuestAddress = GuestAddress(0xe_0000);
/// Room for the ACPI tables, in bytes.
pub const ACPI_TABLES_SIZE: u64 = GENERATION_ID.0 - ACPI_TABLES.0;
/// The page of the VM generation ID. The e820 map reserves it, as the ID's specification demands.
pub const GENERATION_ID: GuestAddress = GuestAddress(0xf_d000);
/// The page of the VMClock, reserved too.
pub const VM_CLOCK: GuestAddress = GuestAddress(0xf_e000);
/// The last 16 bytes below 1 MiB, f000:fff0 and ffff:0: where real mode has the reset vector.
pub const RESET_VECTOR: GuestAddress = GuestAddress(0xf_fff0);
/// 1 MiB: where RAM goes on, and most kernels begin.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// The type of a range of physical addresses (ACPI 6.5, table 15.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum E820Kind {
    /// RAM the kernel may use.
    Ram = 1,
    /// Addresses the kernel must leave alone.
    Reserved = 2,
}

/// One range of the e820 map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct E820Entry {
    /// The first address.
    pub start: GuestAddress,
    /// The size in bytes.
    pub size: u64,
    /// Its kind.
    pub kind: E820Kind,
}

/// The e820 map of `ram`: its regions, with the low reserved areas cut out.
pub fn e820(ram: &GuestRam) -> Vec<E820Entry> {
    let reserved = |start: GuestAddress, size| E820Entry {
        start,
        size,
        kind: E820Kind::Reserved,
    };
    let usable = |start: u64, end: u64| E820Entry {
        start: GuestAddress(start),
        size: end.saturating_sub(start),
        kind: E820Kind::Ram,
    };
    let mut entries = vec![
        usable(0, EBDA.0),
        reserved(EBDA, LOW_MEMORY_END.0.saturating_sub(EBDA.0)),
        reserved(ACPI_TABLES, HIGH_MEMORY.0 - ACPI_TABLES.0),
    ];
    for region in ram.regions() {
        let start = region.guest_address.0.max(HIGH_MEMORY.0);
        let end = region.guest_address.0.saturating_add(region.size);
        if end > start {
            entries.push(usable(start, end));
        }
    }
    entries
}

/// Adds addresses that the kernel must leave alone to `map`, in its order.
pub fn reserve(map: &mut Vec<E820Entry>, start: GuestAddress, size: u64) {
    let place = map.partition_point(|entry| entry.start <= start);
    let kind = E820Kind::Reserved;
    map.insert(place, E820Entry { start, size, kind });
}

/// The end of the RAM that starts at address 0, at most the start of the MMIO hole.
pub fn low_ram_end(ram: &GuestRam) -> u64 {
    let mut end = 0;
    for region in ram.regions() {
        if region.guest_address.0 == end {
            end = end.saturating_add(region.size);
        }
    }
    end.min(MMIO_HOLE_START.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ram;

    #[test]
    fn the_map_leaves_out_the_ebda_the_legacy_hole_and_the_acpi_tables() {
        let map = e820(&ram(64));

        assert_eq!(map[0].size, 0x9_fc00);
        assert_eq!(
            map[1],
            E820Entry {
                start: EBDA,
                size: 0x400,
                kind: E820Kind::Reserved
            }
        );
        assert_eq!(map[2].start, ACPI_TABLES);
        assert_eq!(map[3].start, HIGH_MEMORY);
        assert_eq!(map[3].size, 63 << 20);
        assert_eq!(map.len(), 4);
    }

    #[test]
    fn what_is_reserved_lies_between_what_is_before_and_after() {
        let mut map = e820(&ram(4096));

        reserve(&mut map, GuestAddress(0xe000_0000), 1 << 20);

        let starts: Vec<_> = map.iter().map(|entry| entry.start.0).collect();
        assert!(starts.is_sorted());
        assert_eq!(starts[4], 0xe000_0000);
        assert_eq!(map[4].kind, E820Kind::Reserved);
    }

    #[test]
    fn ram_beyond_3_gib_goes_on_at_4_gib() {
        let ram = ram(4096);

        let map = e820(&ram);

        assert_eq!(map[3].size, (3 << 30) - (1 << 20));
        assert_eq!(map[4].start, GuestAddress(4 << 30));
        assert_eq!(map[4].size, 1 << 30);
        assert_eq!(low_ram_end(&ram), 3 << 30);
    }
}
