//! Reasons for a debugger to stop a vCPU (AMD APM vol. 2, 13.1; KVM API, `KVM_SET_GUEST_DEBUG`).

/// The debug registers that hold addresses: DR0 to DR3.
pub const DEBUG_ADDRESSES: usize = 4;

/// When a vCPU is to leave the guest with [`VcpuExit::Debug`](crate::VcpuExit::Debug). The default is
/// never, and what debug exceptions there are go to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestDebug {
    /// After one instruction. Interrupts wait meanwhile, where the hypervisor can hold them back.
    pub step: bool,
    /// At INT3 (0xcc), before the guest takes its #BP.
    pub software_breakpoints: bool,
    /// At these places.
    pub hardware: [Option<HardwareBreakpoint>; DEBUG_ADDRESSES],
    /// The guest takes a #BP with its next instruction: an INT3 that is its own.
    pub inject_breakpoint: bool,
}

/// A place that a debug register watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareBreakpoint {
    /// The linear address; aligned to `length`.
    pub address: u64,
    /// The accesses to stop for.
    pub access: WatchedAccess,
    /// How many bytes: 1, 2, 4 or 8; 1 for [`Execute`](WatchedAccess::Execute).
    pub length: u8,
}

/// The accesses a debug register watches for: the R/W field of DR7 (AMD APM vol. 2, 13.1.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WatchedAccess {
    /// An instruction that begins there, before it is executed.
    Execute = 0,
    /// Data that were written.
    Write = 1,
    /// Data that were read or written.
    ReadWrite = 3,
}

impl GuestDebug {
    /// DR7 for `hardware`: each breakpoint enabled globally, exact.
    pub fn dr7(&self) -> u64 {
        /// Reserved, always 1; GE.
        const BASE: u64 = 1 << 10 | 1 << 9;
        let places = self.hardware.iter().enumerate();
        places.fold(BASE, |dr7, (index, place)| match place {
            Some(place) => dr7 | place.dr7(index),
            None => dr7,
        })
    }

    /// Whether a debugger wants nothing of the vCPU.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

impl HardwareBreakpoint {
    /// G, R/W and LEN of the debug register `index`.
    fn dr7(&self, index: usize) -> u64 {
        let length = match self.length {
            2 => 1,
            4 => 3,
            8 => 2,
            _ => 0,
        };
        2 << (index * 2) | (self.access as u64 | length << 2) << (16 + index * 4)
    }
}

/// Why a vCPU left the guest for a debugger (`KVM_EXIT_DEBUG`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExit {
    /// The vector of the exception: 1 is #DB, 3 is #BP.
    pub exception: u32,
    /// The linear address of the instruction: at an INT3 that of the INT3 itself.
    pub address: u64,
    /// DR6 of a #DB.
    pub dr6: u64,
}

impl DebugExit {
    /// An INT3.
    pub fn is_breakpoint(&self) -> bool {
        self.exception == 3
    }

    /// DR6.BS: one instruction was executed.
    pub fn is_step(&self) -> bool {
        self.exception == 1 && self.dr6 & 1 << 14 != 0
    }

    /// DR6.B0 to B3: the debug register whose place was met, lowest first.
    pub fn place(&self) -> Option<usize> {
        let met = |&index: &usize| self.exception == 1 && self.dr6 & 1 << index != 0;
        (0..DEBUG_ADDRESSES).find(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dr7_has_the_fields_of_each_place() {
        let mut debug = GuestDebug::default();
        assert_eq!(debug.dr7(), 0x600);
        debug.hardware[0] = Some(HardwareBreakpoint {
            address: 0x1000,
            access: WatchedAccess::Execute,
            length: 1,
        });
        debug.hardware[2] = Some(HardwareBreakpoint {
            address: 0x2000,
            access: WatchedAccess::ReadWrite,
            length: 8,
        });
        // G0, G2; R/W2 3 and LEN2 2 (AMD APM vol. 2, figure 13-4).
        assert_eq!(debug.dr7(), 0x600 | 2 | 0x20 | 0xb << 24);
    }

    #[test]
    fn dr6_says_what_was_met() {
        let exit = |exception, dr6| DebugExit {
            exception,
            address: 0,
            dr6,
        };
        assert!(exit(1, 0xffff_4ff0).is_step());
        assert!(!exit(3, 0xffff_4ff0).is_step());
        assert_eq!(exit(1, 0xffff_0ff4).place(), Some(2));
        assert_eq!(exit(1, 0xffff_4ff0).place(), None);
        assert_eq!(exit(3, 1).place(), None);
    }
}
