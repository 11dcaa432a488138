//! The x87 instructions that kernels use to manage the unit, and EMMS (Intel SDM vol. 2A and 2B).

use iced_x86::OpKind;

use crate::cpu::{Cpu, Run};
use crate::{Exception, ExtendedState, PhysicalMemory, XsaveArea, spec};

/// FSW: the exceptions, and the stack fault that comes with one of them.
const EXCEPTIONS: u16 = 0x3f;
/// FSW: an unmasked exception is pending (ES), and its copy from the time of the 8087 (B).
const ERROR_SUMMARY: u16 = 1 << 7 | 1 << 15;
/// FCW: what can be set: masks, precision, rounding, infinity.
const FCW_BITS: u16 = 0x1f3f;
/// FCW: bit 6 is always set.
const FCW_FIXED: u16 = 1 << 6;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// FWAIT is not for an x87 that is not there (EM), and obeys TS only with MP.
    pub(super) fn fwait(&mut self) -> Run<E> {
        let waits = spec::CR0_MP | spec::CR0_TS;
        let available = self.state.special.cr0 & waits != waits;
        self.require(available, Exception::DEVICE_NOT_AVAILABLE)?;
        let area = self.load()?;
        self.raise_pending(&area)
    }

    /// The registers keep their contents; all are empty.
    pub(super) fn fninit(&mut self) -> Run<E> {
        self.require_x87()?;
        let mut area = self.load()?;
        area.reset_top();
        area.zero(crate::xsave_area::X87_CONTROL);
        area.set_fcw(0x37f);
        self.store(area)
    }

    pub(super) fn fnclex(&mut self) -> Run<E> {
        self.require_x87()?;
        let mut area = self.load()?;
        area.set_fsw(area.fsw() & 0x7f00);
        self.store(area)
    }

    pub(super) fn fnstcw(&mut self) -> Run<E> {
        self.require_x87()?;
        let area = self.load()?;
        self.write(self.place(), &area.fcw().to_le_bytes())
    }

    pub(super) fn fnstsw(&mut self) -> Run<E> {
        self.require_x87()?;
        let area = self.load()?;
        if self.instruction.op0_kind() == OpKind::Register {
            self.set_value(self.instruction.op0_register(), area.fsw().into());
            return Ok(());
        }
        self.write(self.place(), &area.fsw().to_le_bytes())
    }

    /// A control word that no longer masks an exception of the past makes it pending.
    pub(super) fn fldcw(&mut self) -> Run<E> {
        self.require_x87()?;
        let mut area = self.load()?;
        self.raise_pending(&area)?;
        area.set_fcw(control_word(u16::from_le_bytes(self.read(self.place())?)));
        self.settle_summary(&mut area);
        self.store(area)
    }

    /// Makes ES and B tell whether an exception is not masked.
    pub(super) fn settle_summary(&self, area: &mut XsaveArea) {
        let unmasked = area.fsw() & EXCEPTIONS & !area.fcw() != 0;
        let summary = if unmasked { ERROR_SUMMARY } else { 0 };
        area.set_fsw(area.fsw() & !ERROR_SUMMARY | summary);
    }

    /// All registers are empty, and TOP is 0 as after any MMX instruction (Intel SDM vol. 3, 12.2).
    pub(super) fn emms(&mut self) -> Run<E> {
        self.require_simd()?;
        let mut area = self.load()?;
        self.raise_pending(&area)?;
        area.reset_top();
        area.set_tags(0);
        self.store(area)
    }

    pub(super) fn require_x87(&self) -> Run<E> {
        self.require_available(spec::CR0_EM | spec::CR0_TS)
    }

    /// #MF where an unmasked exception is pending. Without CR0.NE the CPU would tell an external
    /// interrupt controller instead, as the IBM PC had it; 64-bit kernels set NE.
    pub(super) fn raise_pending(&self, area: &XsaveArea) -> Run<E> {
        let pending = area.fsw() & ERROR_SUMMARY != 0;
        let told = self.state.special.cr0 & spec::CR0_NE != 0;
        self.require(!pending || !told, Exception::X87)
    }
}

/// Adjusts a control word that is loaded.
pub(super) fn control_word(value: u16) -> u16 {
    value & FCW_BITS | FCW_FIXED
}
