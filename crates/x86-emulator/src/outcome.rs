//! The results of an instruction.

use thiserror::Error;

use crate::Completed;

/// The instruction ran, or ended in an exception as it would have on the CPU.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It ran: RIP is past it, or where it leads; RFLAGS.RF is clear.
    Done(Completed),
    /// It ran, and RFLAGS.TF was set: the caller sets DR6.BS and injects #DB (Intel SDM vol. 3, 18.3.1.4).
    Stepped(Completed),
    /// The caller injects this exception. For a fault the general registers are as they were, and
    /// memory too; for a trap (#BP, and #DB of INT1) RIP is past the instruction. For #PF, CR2 of the
    /// state is set.
    Fault(Exception),
}

/// An exception to inject (Intel SDM vol. 3, 6.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// The error code that is pushed on the stack, where the vector has one.
    pub error_code: Option<u32>,
}

impl Exception {
    /// #DB: the trap after a single step, and INT1.
    pub const DEBUG: Self = Self::plain(1);
    /// #BP: INT3.
    pub const BREAKPOINT: Self = Self::plain(3);
    /// #UD: invalid opcode.
    pub const INVALID_OPCODE: Self = Self::plain(6);
    /// #NM: the x87 or SSE state is not to be touched.
    pub const DEVICE_NOT_AVAILABLE: Self = Self::plain(7);
    /// #SS(0): a non-canonical address in the stack segment.
    pub const STACK: Self = Self::with_code(12, 0);
    /// #GP(0): general protection.
    pub const GENERAL_PROTECTION: Self = Self::with_code(13, 0);
    /// #MF: an unmasked x87 error is pending.
    pub const X87: Self = Self::plain(16);

    /// #PF. CR2 is a register, not a part of the exception.
    pub const fn page_fault(error_code: u32) -> Self {
        Self::with_code(14, error_code)
    }

    /// #GP with a selector's error code.
    pub(crate) const fn general_protection(code: u32) -> Self {
        Self::with_code(13, code)
    }

    /// #NP: a segment or a gate is not present.
    pub(crate) const fn not_present(code: u32) -> Self {
        Self::with_code(11, code)
    }

    /// #TS: the task state segment does not hold a stack.
    pub(crate) const fn invalid_tss(code: u32) -> Self {
        Self::with_code(10, code)
    }

    const fn plain(vector: u8) -> Self {
        Self {
            vector,
            error_code: None,
        }
    }

    const fn with_code(vector: u8, code: u32) -> Self {
        Self {
            vector,
            error_code: Some(code),
        }
    }
}

/// Why an instruction was not completed. Registers and memory are as they were.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotCompleted<E> {
    /// The emulator does not know it, and the guest's CPUID offers it.
    #[error("{name} is not an instruction the emulator completes (bytes {bytes:02x?})")]
    Unsupported {
        /// It, disassembled; `(bad)` where the bytes are not an instruction.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The vCPU is not in 64-bit mode.
    #[error("the emulator completes instructions of 64-bit mode only, not of {mode}")]
    NotLongMode {
        /// The mode it is in.
        mode: Mode,
    },
    /// A page table or an operand is not in RAM.
    #[error("guest-physical address {address:#x}, which the instruction needs, is not RAM")]
    NotRam {
        /// The guest-physical address.
        address: u64,
    },
    /// State components have no place in the [`XsaveArea`](crate::XsaveArea), or CPUID does not say
    /// where.
    #[error("state components {components:#x} have no place in the XSAVE area")]
    NoPlace {
        /// A bit for each.
        components: u64,
    },
    /// Other vCPUs changed the page tables again and again during the walk.
    #[error("the page tables of linear address {linear:#x} do not settle")]
    Unsettled {
        /// The linear address.
        linear: u64,
    },
    /// The caller could not load or store extended state.
    #[error("cannot reach the vCPU's extended state")]
    Extended(#[source] E),
}

/// A mode of the CPU (AMD APM vol. 1, 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real mode.
    Real,
    /// Virtual-8086 mode.
    Virtual8086,
    /// Protected mode of 16 or 32 bits.
    Protected,
    /// 16 or 32 bits under a 64-bit operating system.
    Compatibility,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Real => "real mode",
            Self::Virtual8086 => "virtual-8086 mode",
            Self::Protected => "protected mode",
            Self::Compatibility => "compatibility mode",
        })
    }
}
