//! SYSCALL over the bridge, as one vCPU sees it: its MSRs, and the way into ring 0.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use vmmkit_hypervisor::x86::Msr;

use super::bridge;

/// STAR, LSTAR and SFMASK (AMD APM vol. 2, 6.1.1).
pub(crate) const STAR: u32 = 0xc000_0081;
pub(crate) const LSTAR: u32 = 0xc000_0082;
pub(crate) const FMASK: u32 = 0xc000_0084;
/// How many MSRs the filter sends here, from STAR on; CSTAR (0xc0000083) is one of them.
pub(crate) const FILTERED: u32 = 4;

/// RFLAGS.RF, which SYSCALL clears; and the bit that is always set.
const RF: u64 = 1 << 16;
const ALWAYS: u64 = 1 << 1;

/// The MSRs of SYSCALL as the guest wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyscallMsrs {
    star: u64,
    lstar: u64,
    fmask: u64,
    /// Whether KVM's LSTAR leads to the bridge.
    bridged: bool,
}

impl SyscallMsrs {
    /// Notes a write, by the guest or by the VMM, and answers with what KVM is to hold.
    /// `plant` is called for a new LSTAR: whether the bridge can be entered.
    pub(crate) fn write(&mut self, msr: Msr, plant: impl FnOnce() -> bool) -> Msr {
        match msr.index {
            STAR => self.star = msr.value,
            FMASK => self.fmask = msr.value,
            LSTAR => {
                self.lstar = msr.value;
                // 0 is what it holds at a reset.
                self.bridged = msr.value != 0 && plant();
                if self.bridged {
                    return Msr {
                        value: bridge::ENTRY,
                        ..msr
                    };
                }
            }
            _ => {}
        }
        msr
    }

    /// The value the guest sees where KVM holds another one.
    pub(crate) fn read(&self, index: u32) -> Option<u64> {
        (index == LSTAR && self.bridged).then_some(self.lstar)
    }

    /// Ring 0 at the guest's LSTAR, as SYSCALL enters it (AMD APM vol. 3, SYSCALL), from the state
    /// right behind the bridge's store. `false`, and nothing is changed, where no SYSCALL led there.
    ///
    /// KVM has done the rest: RCX and R11 are loaded and RFLAGS is masked. That is how a jump to
    /// the bridge is told from a SYSCALL: Linux's mask clears RFLAGS.IF, and ring 3 cannot.
    pub(crate) fn enter(&self, registers: &mut kvm_regs, special: &mut kvm_sregs) -> bool {
        let flags = (registers.r11 & !self.fmask & !RF) | ALWAYS;
        let genuine = self.bridged
            && registers.rip == bridge::AFTER_STORE
            && special.cs.dpl == 3
            && special.cs.l == 1
            && (registers.rflags & !RF) == flags
            && self.fmask & INTERRUPTS != 0;
        if genuine {
            let selector = (self.star >> 32) as u16 & !3;
            special.cs = flat(kvm_segment {
                selector,
                type_: CODE,
                l: 1,
                ..Default::default()
            });
            special.ss = flat(kvm_segment {
                selector: selector.wrapping_add(8),
                type_: DATA,
                db: 1,
                ..Default::default()
            });
            registers.rip = self.lstar;
            registers.rflags = flags;
        }
        genuine
    }
}

/// RFLAGS.IF.
const INTERRUPTS: u64 = 1 << 9;
/// Segment types: read and execute, read and write; both accessed.
const CODE: u8 = 11;
const DATA: u8 = 3;

fn flat(segment: kvm_segment) -> kvm_segment {
    kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux's values.
    const KERNEL: u64 = 0xffff_ffff_8180_0080;
    const MASK: u64 = 0x25_7fd5;

    fn msrs() -> SyscallMsrs {
        let mut msrs = SyscallMsrs::default();
        let write = |index, value| Msr { index, value };
        msrs.write(write(STAR, 0x0023_0010 << 32), || false);
        msrs.write(write(FMASK, MASK), || false);
        let held = msrs.write(write(LSTAR, KERNEL), || true);
        assert_eq!(held, write(LSTAR, bridge::ENTRY));
        msrs
    }

    fn behind_the_store() -> (kvm_regs, kvm_sregs) {
        let registers = kvm_regs {
            rip: bridge::AFTER_STORE,
            rcx: 0x40_1234,
            r11: 0x246,
            rflags: 2,
            rax: 39,
            ..Default::default()
        };
        let mut special = kvm_sregs::default();
        special.cs.dpl = 3;
        special.cs.l = 1;
        (registers, special)
    }

    #[test]
    fn a_system_call_enters_ring_0_at_the_guests_lstar() {
        let (mut registers, mut special) = behind_the_store();
        assert!(msrs().enter(&mut registers, &mut special));
        assert_eq!((registers.rip, registers.rflags), (KERNEL, 2));
        assert_eq!((special.cs.selector, special.cs.dpl), (0x10, 0));
        assert_eq!((special.ss.selector, special.ss.dpl), (0x18, 0));
        assert_eq!(
            (registers.rax, registers.rcx, registers.r11),
            (39, 0x40_1234, 0x246)
        );
    }

    #[test]
    fn a_jump_to_the_bridge_with_interrupts_on_is_refused() {
        let (mut registers, mut special) = behind_the_store();
        // IOPL 3 in R11: what a program would get by it.
        registers.r11 = 0x3246;
        registers.rflags = 0x246;
        let before = (registers, special);
        assert!(!msrs().enter(&mut registers, &mut special));
        assert_eq!((registers, special), before);
    }

    #[test]
    fn flags_that_are_not_r11_masked_are_refused() {
        let (mut registers, mut special) = behind_the_store();
        registers.r11 = 0x247 | 1 << 21;
        registers.rflags = 2;
        // FMASK leaves ID (bit 21) alone here, so it should be set in RFLAGS too.
        let mut msrs = msrs();
        msrs.write(
            Msr {
                index: FMASK,
                value: MASK & !(1 << 21),
            },
            || false,
        );
        assert!(!msrs.enter(&mut registers, &mut special));
    }

    #[test]
    fn a_store_from_elsewhere_is_refused() {
        let (mut registers, mut special) = behind_the_store();
        registers.rip = 0x40_1000;
        assert!(!msrs().enter(&mut registers, &mut special));
    }

    #[test]
    fn a_kernel_that_leaves_interrupts_on_is_refused() {
        let (mut registers, mut special) = behind_the_store();
        let mut msrs = msrs();
        msrs.write(
            Msr {
                index: FMASK,
                value: 0,
            },
            || false,
        );
        registers.rflags = registers.r11;
        assert!(!msrs.enter(&mut registers, &mut special));
    }

    #[test]
    fn the_guest_reads_its_own_lstar() {
        let msrs = msrs();
        assert_eq!(msrs.read(LSTAR), Some(KERNEL));
        assert_eq!(msrs.read(STAR), None);
        assert_eq!(SyscallMsrs::default().read(LSTAR), None);
    }

    #[test]
    fn without_a_hole_the_guest_gets_what_the_host_has() {
        let mut msrs = SyscallMsrs::default();
        let lstar = Msr {
            index: LSTAR,
            value: KERNEL,
        };
        assert_eq!(msrs.write(lstar, || false), lstar);
        assert_eq!(msrs.read(LSTAR), None);
    }
}
