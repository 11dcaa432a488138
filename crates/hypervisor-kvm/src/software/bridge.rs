//! The bridge's pages in guest memory, and the one entry that leads the guest there.
//!
//! Linux leaves 2 GiB of its address space unused below its own text ("unused hole",
//! Documentation/arch/x86/x86_64/mm.rst), and every process shares the page table above it. The
//! bridge plants one entry there:
//!
//! ```text
//! CR3 -> PML4[511] -> the guest's level-3 table[508] -> DIRECTORY[0] -> TABLE[0] -> CODE
//!                                                                      TABLE[1] -> the trap page
//! ```
//!
//! CODE stores a byte to the trap page, where no memory is: the vCPU exits. All four pages lie in a
//! memory slot of their own in the 32-bit hole, outside every range that e820 calls RAM.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::x86::SpecialRegisters;

use crate::inner::Inner;
use crate::ioctls;

/// Where the guest's SYSCALL goes: the start of the hole, slot 508 of the table behind PML4[511].
pub(crate) const ENTRY: u64 = 0xffff_ffff_0000_0000;
/// RIP at the exit: behind the store.
pub(crate) const AFTER_STORE: u64 = ENTRY + STORE.len() as u64;
/// The guest-physical page that the store goes to. No memory is there.
pub(crate) const TRAP: u64 = 0xfeff_7000;

/// The pages, below those that KVM itself keeps for Intel's virtualization (`vm.rs`).
const DIRECTORY: u64 = 0xfeff_8000;
const TABLE: u64 = 0xfeff_9000;
const CODE: u64 = 0xfeff_a000;
const PAGES: usize = 3;

/// `mov byte ptr [rip + 0xffa], al`: a store to the second page from its first byte on.
const STORE: [u8; 6] = [0x88, 0x05, 0xfa, 0x0f, 0x00, 0x00];
/// UD2, all over the rest: whoever jumps into the page, or goes on behind the store, gets SIGILL.
const UD2: [u8; 2] = [0x0f, 0x0b];

/// Page-table entry bits (AMD APM vol. 2, 5.3.3): present, writable, user, accessed, dirty.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The slots of the hole on the way down.
const TOP_SLOT: u64 = 511;
const HOLE_SLOT: u64 = 508;
/// CR4.LA57: one level more.
const LA57: u64 = 1 << 12;

/// The pages of one VM.
pub(crate) struct Bridge {
    /// Atomics, since the guest's walks may write accessed bits behind the compiler's back.
    pages: Box<Pages>,
}

#[repr(C, align(4096))]
struct Pages([[AtomicU64; 512]; PAGES]);

impl Bridge {
    /// Fills the pages, mapped nowhere yet.
    pub(crate) fn new() -> Self {
        let pages: Box<Pages> = Box::new(Pages(std::array::from_fn(|_| {
            std::array::from_fn(|_| AtomicU64::new(0))
        })));
        let Pages([directory, table, code]) = &*pages;
        let set = |page: &[AtomicU64; 512], index: usize, value| {
            if let Some(word) = page.get(index) {
                // Ordering: nothing maps the pages yet.
                word.store(value, Ordering::Relaxed);
            }
        };
        // The bits that a walk would set are set, so that it writes nothing.
        let read = PRESENT | USER | ACCESSED;
        set(directory, 0, TABLE | read | WRITABLE);
        set(table, 0, CODE | read);
        set(table, 1, TRAP | read | WRITABLE | DIRTY);
        let mut bytes = [0_u8; 4096];
        for pair in bytes.chunks_exact_mut(2) {
            pair.copy_from_slice(&UD2);
        }
        for (byte, store) in bytes.iter_mut().zip(STORE) {
            *byte = store;
        }
        for (index, word) in bytes.as_chunks().0.iter().enumerate() {
            set(code, index, u64::from_le_bytes(*word));
        }
        Self { pages }
    }

    /// Gives the pages to the guest, in `slot`.
    pub(crate) fn map(&self, vm: &VmFd, slot: u32) -> io::Result<()> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: DIRECTORY,
            memory_size: size_of::<Pages>() as u64,
            userspace_addr: std::ptr::from_ref(&*self.pages) as u64,
        };
        // SAFETY: the box is `memory_size` bytes long and does not move; the VM's `Descriptor` holds
        // it, and drops it after the VM's own; every vCPU holds that `Descriptor`.
        unsafe { ioctls::set_memory_region(vm, &region) }
    }

    /// Leads the address space of `special` here; every later one shares the entry. Whether the
    /// guest's page tables have the hole: those of Linux do.
    pub(crate) fn plant(&self, vm: &Inner, special: &SpecialRegisters) -> bool {
        let entry = DIRECTORY | PRESENT | WRITABLE | USER | ACCESSED;
        let mut table = special.cr3 & ADDRESS;
        let levels = if special.cr4 & LA57 == 0 { 1 } else { 2 };
        for _ in 0..levels {
            let Some(next) = read_entry(vm, table, TOP_SLOT) else {
                return false;
            };
            if next & PRESENT == 0 || next & LARGE != 0 {
                return false;
            }
            table = next & ADDRESS;
        }
        match read_entry(vm, table, HOLE_SLOT) {
            Some(0) => vm.write_ram(GuestAddress(table + HOLE_SLOT * 8), &entry.to_le_bytes()),
            // Another vCPU was first.
            Some(there) => there & ADDRESS == DIRECTORY && there & PRESENT != 0,
            None => false,
        }
    }
}

fn read_entry(vm: &Inner, table: u64, slot: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    vm.read_ram(GuestAddress(table + slot * 8), &mut bytes)
        .then(|| u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_reaches_the_second_page() {
        let displacement = i32::from_le_bytes([STORE[2], STORE[3], STORE[4], STORE[5]]);
        let target = AFTER_STORE.wrapping_add_signed(displacement.into());
        assert_eq!(target, ENTRY + 0x1000);
    }

    #[test]
    fn the_hole_is_slot_508_of_the_table_behind_slot_511() {
        assert_eq!(ENTRY >> 39 & 511, TOP_SLOT);
        assert_eq!(ENTRY >> 30 & 511, HOLE_SLOT);
        assert_eq!(ENTRY >> 21 & 511, 0);
    }

    #[test]
    fn every_even_byte_behind_the_store_is_an_invalid_instruction() {
        let bridge = Bridge::new();
        let code: Vec<u8> = bridge.pages.0[2]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        assert_eq!(code[..6], STORE);
        assert!(code[6..].chunks(2).all(|pair| pair == UD2));
    }
}
