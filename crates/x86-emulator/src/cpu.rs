//! One vCPU at one instruction: what the functions of the instructions work on.

use iced_x86::Instruction;

use crate::cpuid::Cpuid;
use crate::{CpuState, Exception, ExtendedState, NotCompleted, PhysicalMemory, XsaveArea, spec};

/// The state, and what reaches memory and extended state.
pub(crate) struct Cpu<'a, M, E> {
    pub(crate) cpuid: &'a Cpuid,
    pub(crate) state: &'a mut CpuState,
    pub(crate) memory: &'a M,
    pub(crate) extended: &'a mut E,
    pub(crate) instruction: Instruction,
}

/// The result of a step of an instruction. After `Err` the registers are put back as they were, so
/// that only memory and extended state must be left alone until nothing can fail.
pub(crate) type Run<E, T = ()> = Result<T, Stop<<E as ExtendedState>::Error>>;

/// Why an instruction ends early.
pub(crate) enum Stop<E> {
    /// An exception with the registers as before the instruction.
    Fault(Exception),
    /// #PF.
    PageFault { linear: u64, error_code: u32 },
    /// An exception with the registers as the instruction left them.
    Trap(Exception),
    /// The emulator does not know the instruction, or this form of it.
    Unsupported,
    /// It knows it, and cannot.
    NotCompleted(NotCompleted<E>),
}

/// Bytes in memory that an operand names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) linear: u64,
    /// The address is in the stack segment: its faults are #SS.
    pub(crate) stack: bool,
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// The x87, SSE, ... state.
    pub(crate) fn load(&mut self) -> Run<E, XsaveArea> {
        let mut area = self.extended.load().map_err(extended)?;
        area.initialise_unused(&self.cpuid.xsave);
        Ok(area)
    }

    /// Sets the x87, SSE, ... state: the last step of an instruction.
    pub(crate) fn store(&mut self, mut area: XsaveArea) -> Run<E> {
        area.settle();
        self.extended.store(&area).map_err(extended)
    }

    /// An MSR.
    pub(crate) fn msr(&mut self, index: u32) -> Run<E, u64> {
        self.extended.msr(index).map_err(extended)
    }

    /// XCR0.
    pub(crate) fn xcr0(&mut self) -> Run<E, u64> {
        self.extended.xcr0().map_err(extended)
    }

    /// PKRU.
    pub(crate) fn protection_keys(&mut self) -> Run<E, u32> {
        let area = self.load()?;
        Ok(area.pkru(&self.cpuid.xsave))
    }

    /// Fails with `exception` unless `condition` holds.
    pub(crate) fn require(&self, condition: bool, exception: Exception) -> Run<E> {
        if condition {
            Ok(())
        } else {
            Err(Stop::Fault(exception))
        }
    }

    /// Fails with #UD unless `bit` of CR4 is set.
    pub(crate) fn require_cr4(&self, bit: u64) -> Run<E> {
        let set = self.state.special.cr4 & bit != 0;
        self.require(set, Exception::INVALID_OPCODE)
    }

    /// Fails with #NM if CR0 has any of `bits`.
    pub(crate) fn require_available(&self, bits: u64) -> Run<E> {
        let clear = self.state.special.cr0 & bits == 0;
        self.require(clear, Exception::DEVICE_NOT_AVAILABLE)
    }

    /// Fails with #UD if CR0.EM is set, and with #NM if CR0.TS is.
    pub(crate) fn require_simd(&self) -> Run<E> {
        let present = self.state.special.cr0 & spec::CR0_EM == 0;
        self.require(present, Exception::INVALID_OPCODE)?;
        self.require_available(spec::CR0_TS)
    }

    /// Fails with #GP(0) unless the privilege level is 0.
    pub(crate) fn require_supervisor(&self) -> Run<E> {
        let supervisor = self.state.privilege_level() == 0;
        self.require(supervisor, Exception::GENERAL_PROTECTION)
    }
}

/// The caller's failure as ours.
pub(crate) fn extended<E>(source: E) -> Stop<E> {
    Stop::NotCompleted(NotCompleted::Extended(source))
}
