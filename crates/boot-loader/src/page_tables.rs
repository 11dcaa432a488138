//! GDT and page tables that the 64-bit and the PVH entry start on.

use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::memory_map::{GDT, PAGE_TABLES};

/// Selector of the code segment: `__BOOT_CS` of the Linux/x86 boot protocol.
pub(crate) const BOOT_CS: u16 = 0x10;
/// Selector of the data segments: `__BOOT_DS` of the Linux/x86 boot protocol.
pub(crate) const BOOT_DS: u16 = 0x18;
/// Selector of the task state segment.
pub(crate) const BOOT_TSS: u16 = 0x20;
/// Bytes in the GDT, less one: its limit.
pub(crate) const GDT_LIMIT: u16 = 5 * 8 - 1;

/// A flat code segment (AMD APM vol. 2, 4.7 and 4.8): base 0, limit 4 GiB, present, execute and
/// read, accessed; L for 64-bit mode, D for 32-bit mode, never both.
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
/// A flat data segment: base 0, limit 4 GiB, present, read and write, accessed.
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// A busy 32-bit task state segment of 104 bytes at 0; nothing ever switches to it.
const TSS: u64 = 0x0000_8b00_0000_0067;

/// Page table entry bits (AMD APM vol. 2, 5.4): present, writable, large page.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const PAGE: u64 = 4096;
const ENTRIES: u64 = 512;
const LARGE_PAGE: u64 = 2 << 20;
/// Page directories: one for each GiB mapped.
const DIRECTORIES: u64 = 4;

/// Writes the GDT, its code segment for 64-bit mode or for 32-bit protected mode.
pub(crate) fn write_gdt(ram: &GuestRam, long_mode: bool) -> Result<(), AccessError> {
    let code = if long_mode { CODE_64 } else { CODE_32 };
    for (index, entry) in [0, 0, code, DATA, TSS].into_iter().enumerate() {
        ram.write(GuestAddress(GDT.0 + 8 * index as u64), entry)?;
    }
    Ok(())
}

/// Writes page tables that map the first 4 GiB to themselves by pages of 2 MiB, and no more: the
/// boot protocol asks for the kernel, the zero page and the command line. Answers CR3.
pub(crate) fn write_page_tables(ram: &GuestRam) -> Result<u64, AccessError> {
    let root = PAGE_TABLES.0;
    let (pointers, directories) = (root + PAGE, root + 2 * PAGE);
    let mut table = Vec::with_capacity(PAGE as usize);
    let mut put = |address: u64, entries: &mut dyn Iterator<Item = u64>| {
        table.clear();
        table.extend(entries.flat_map(u64::to_le_bytes));
        table.resize(PAGE as usize, 0);
        ram.write_bytes(GuestAddress(address), &table)
    };
    put(root, &mut std::iter::once(pointers | PRESENT | WRITABLE))?;
    let tables = (0..DIRECTORIES).map(|index| (directories + index * PAGE) | PRESENT | WRITABLE);
    put(pointers, &mut tables.into_iter())?;
    for directory in 0..DIRECTORIES {
        let pages = (0..ENTRIES)
            .map(|index| ((directory * ENTRIES + index) * LARGE_PAGE) | PRESENT | WRITABLE | LARGE);
        put(directories + directory * PAGE, &mut pages.into_iter())?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ram;

    /// Translates a linear address as the processor does with 4-level paging.
    fn walk(ram: &GuestRam, root: u64, linear: u64) -> Option<u64> {
        let mut table = root;
        for shift in [39, 30, 21] {
            let entry: u64 = ram
                .read(GuestAddress(table + ((linear >> shift) & 511) * 8))
                .unwrap();
            if entry & PRESENT == 0 {
                return None;
            }
            table = entry & 0x000f_ffff_ffff_f000;
            if entry & LARGE != 0 {
                return Some(table + (linear & (LARGE_PAGE - 1)));
            }
        }
        None
    }

    #[test]
    fn the_first_4_gib_are_mapped_to_themselves_and_nothing_else_is() {
        let ram = ram(2);

        let root = write_page_tables(&ram).unwrap();

        for linear in [0, 0x7000, 0x100_0000, 0x7fff_ffff, 0xffff_ffff] {
            assert_eq!(walk(&ram, root, linear), Some(linear));
        }
        assert_eq!(walk(&ram, root, 1 << 32), None);
        assert_eq!(walk(&ram, root, 1 << 39), None);
    }

    #[test]
    fn the_code_segment_is_64_bit_or_32_bit() {
        let ram = ram(2);

        write_gdt(&ram, true).unwrap();
        let long: u64 = ram.read(GuestAddress(GDT.0 + u64::from(BOOT_CS))).unwrap();
        write_gdt(&ram, false).unwrap();
        let protected: u64 = ram.read(GuestAddress(GDT.0 + u64::from(BOOT_CS))).unwrap();

        assert_eq!(long >> 53 & 3, 0b01); // L, not D
        assert_eq!(protected >> 53 & 3, 0b10); // D, not L
    }
}
