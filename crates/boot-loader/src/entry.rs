//! The state in which the boot processor enters the kernel.

use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::x86::{DescriptorTable, Registers, Segment, SpecialRegisters};

use crate::memory_map::{BOOT_INFO, GDT, PVH_START_INFO, STACK_TOP, ZERO_PAGE};
use crate::page_tables::{BOOT_CS, BOOT_DS, BOOT_TSS, GDT_LIMIT};

/// CR0 (AMD APM vol. 2, 3.1.1): protection, extension type, paging.
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension (AMD APM vol. 2, 3.1.3).
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled, and active (AMD APM vol. 2, 3.1.7).
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS after a reset: only the bit that is always set; interrupts are off.
const RFLAGS: u64 = 2;
/// The first instruction after a reset (Intel SDM vol. 3A, 10.1.4).
const RESET_VECTOR: GuestAddress = GuestAddress(0xffff_fff0);
/// EDX after a reset: a family, which CPUID says better (Intel SDM vol. 3A, table 10-1).
const RESET_SIGNATURE: u64 = 0x600;

/// The state in which the boot processor enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// Long mode on identity page tables, RSI at the zero page (Linux/x86 boot protocol, "64-bit
    /// boot protocol").
    Long {
        /// RIP.
        address: GuestAddress,
        /// CR3.
        page_tables: GuestAddress,
    },
    /// 32-bit protected mode without paging, EBX at the start info (Xen PVH, "HVM direct boot
    /// ABI").
    Pvh {
        /// EIP.
        address: GuestAddress,
    },
    /// 32-bit protected mode without paging, ESI at the zero page (Linux/x86 boot protocol, "32-bit
    /// boot protocol").
    Linux32 {
        /// EIP.
        address: GuestAddress,
    },
    /// 32-bit protected mode without paging, EBX at the Multiboot information (Multiboot 0.6.96,
    /// 3.2; Multiboot2 2.0, 3.3).
    Multiboot {
        /// EIP.
        address: GuestAddress,
        /// EAX: which version of Multiboot it is.
        magic: u32,
    },
    /// 16 bytes below 4 GiB, as after a reset (Intel SDM vol. 3A, 10.1.4).
    ResetVector,
}

impl Entry {
    /// Where the kernel is entered.
    pub fn address(&self) -> GuestAddress {
        match self {
            Self::Long { address, .. }
            | Self::Pvh { address }
            | Self::Linux32 { address }
            | Self::Multiboot { address, .. } => *address,
            Self::ResetVector => RESET_VECTOR,
        }
    }

    /// The general registers at entry.
    pub fn registers(&self) -> Registers {
        let mut registers = Registers {
            rip: self.address().0,
            rflags: RFLAGS,
            ..Registers::default()
        };
        match self {
            Self::Long { .. } => {
                registers.rsp = STACK_TOP.0;
                registers.rbp = STACK_TOP.0;
                registers.rsi = ZERO_PAGE.0;
            }
            Self::Pvh { .. } => registers.rbx = PVH_START_INFO.0,
            Self::Linux32 { .. } => registers.rsi = ZERO_PAGE.0,
            Self::Multiboot { magic, .. } => {
                registers.rax = u64::from(*magic);
                registers.rbx = BOOT_INFO.0;
            }
            Self::ResetVector => {
                registers.rip = RESET_VECTOR.0 & 0xffff; // CS has the rest as its base
                registers.rdx = RESET_SIGNATURE;
            }
        }
        registers
    }

    /// Changes `special`, the vCPU's own values after reset, to those at entry. The APIC base and
    /// what else the entry does not rule stay as they are.
    pub fn apply(&self, special: &mut SpecialRegisters) {
        if *self == Self::ResetVector {
            return;
        }
        let long = matches!(self, Self::Long { .. });
        special.cs = code(long);
        for register in [
            &mut special.ds,
            &mut special.es,
            &mut special.fs,
            &mut special.gs,
            &mut special.ss,
        ] {
            *register = data();
        }
        special.tr = task_state();
        special.ldt = Segment {
            unusable: true,
            ..Segment::default()
        };
        special.gdt = DescriptorTable {
            base: GDT.0,
            limit: GDT_LIMIT,
        };
        special.idt = DescriptorTable { base: 0, limit: 0 };
        special.cr2 = 0;
        match self {
            Self::Long { page_tables, .. } => {
                special.cr0 = CR0_PE | CR0_ET | CR0_PG;
                special.cr3 = page_tables.0;
                special.cr4 = CR4_PAE;
                special.efer = EFER_LME | EFER_LMA;
            }
            _ => {
                special.cr0 = CR0_PE | CR0_ET;
                special.cr3 = 0;
                special.cr4 = 0;
                special.efer = 0;
            }
        }
    }
}

fn code(long: bool) -> Segment {
    Segment {
        base: 0,
        limit: u32::MAX,
        selector: BOOT_CS,
        kind: 0xb, // execute, read, accessed
        present: true,
        dpl: 0,
        db: !long,
        s: true,
        l: long,
        g: true,
        avl: false,
        unusable: false,
    }
}

fn data() -> Segment {
    Segment {
        selector: BOOT_DS,
        kind: 0x3, // read, write, accessed
        db: true,
        l: false,
        ..code(false)
    }
}

fn task_state() -> Segment {
    Segment {
        limit: 0x67,
        selector: BOOT_TSS,
        kind: 0xb, // busy
        db: false,
        s: false,
        l: false,
        g: false,
        ..code(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_entry_is_in_long_mode_with_rsi_at_the_zero_page() {
        let entry = Entry::Long {
            address: GuestAddress(0x100_0000),
            page_tables: GuestAddress(0x9000),
        };
        let mut special = SpecialRegisters {
            apic_base: 0xfee0_0900,
            ..Default::default()
        };

        entry.apply(&mut special);

        assert_eq!(special.cr0, 0x8000_0011);
        assert_eq!(
            (special.cr3, special.cr4, special.efer),
            (0x9000, 0x20, 0x500)
        );
        assert_eq!(
            (special.cs.selector, special.cs.l, special.cs.db),
            (0x10, true, false)
        );
        assert_eq!((special.ss.selector, special.ss.kind), (0x18, 3));
        assert_eq!(special.apic_base, 0xfee0_0900);
        let registers = entry.registers();
        assert_eq!(
            (registers.rip, registers.rsi, registers.rflags),
            (0x100_0000, 0x7000, 2)
        );
    }

    #[test]
    fn the_reset_vector_leaves_a_vcpu_as_a_reset_does() {
        let mut special = SpecialRegisters {
            cr0: 0x6000_0010,
            ..Default::default()
        };

        Entry::ResetVector.apply(&mut special);

        assert_eq!(special.cr0, 0x6000_0010);
        assert_eq!(Entry::ResetVector.registers().rip, 0xfff0);
        assert_eq!(Entry::ResetVector.address(), GuestAddress(0xffff_fff0));
    }

    #[test]
    fn linux_and_multiboot_find_what_they_are_told_by_their_registers() {
        let address = GuestAddress(0x10_0000);
        let linux = Entry::Linux32 { address }.registers();
        assert_eq!((linux.rip, linux.rsi, linux.rbp), (0x10_0000, 0x7000, 0));
        assert_eq!((linux.rbx, linux.rdi), (0, 0));
        let magic = 0x2bad_b002;
        let entry = Entry::Multiboot { address, magic };
        let multiboot = entry.registers();
        assert_eq!((multiboot.rax, multiboot.rbx), (0x2bad_b002, 0x1_0000));
        let mut special = SpecialRegisters::default();
        entry.apply(&mut special);
        assert_eq!((special.cr0, special.cs.db), (0x11, true));
    }

    #[test]
    fn the_pvh_entry_is_in_protected_mode_without_paging() {
        let entry = Entry::Pvh {
            address: GuestAddress(0x100_0600),
        };
        let mut special = SpecialRegisters {
            efer: 0x500,
            cr4: 0x20,
            ..Default::default()
        };

        entry.apply(&mut special);

        assert_eq!((special.cr0, special.cr4, special.efer), (0x11, 0, 0));
        assert_eq!((special.cs.l, special.cs.db), (false, true));
        assert_eq!(entry.registers().rbx, 0x6000);
        assert_eq!(special.tr.kind, 0xb);
    }
}
