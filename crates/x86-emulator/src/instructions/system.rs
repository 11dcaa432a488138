//! SYSRET, SYSENTER, SYSEXIT and RDPID.

use vmmkit_hypervisor::x86::Segment;

use crate::cpu::{Cpu, Run};
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

/// RFLAGS that SYSRET takes from R11; RF and VM are cleared (Intel SDM vol. 2B, SYSRET).
const SYSRET_FLAGS: u64 = 0x003c_7fd7;
/// Bit 1 of RFLAGS is always set.
const FIXED_FLAG: u64 = 1 << 1;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// SYSRET to compatibility mode.
    pub(super) fn sysret(&mut self) -> Run<E> {
        let selectors = self.sysret_selectors()?;
        let rip = self.state.registers.rcx & 0xffff_ffff;
        self.return_to_user(rip, user_code(selectors, false), selectors);
        Ok(())
    }

    /// SYSRET with a 64-bit operand size.
    pub(super) fn sysretq(&mut self) -> Run<E> {
        let selectors = self.sysret_selectors()?;
        let rip = self.state.registers.rcx;
        // As Intel has it: AMD faults in ring 3 instead, at the address returned to.
        let canonical = self.state.is_canonical(rip);
        self.require(canonical, Exception::GENERAL_PROTECTION)?;
        let code = user_code(selectors.wrapping_add(16), true);
        self.return_to_user(rip, code, selectors);
        Ok(())
    }

    /// STAR[63:48], if SYSRET is allowed.
    fn sysret_selectors(&mut self) -> Run<E, u16> {
        let enabled = self.state.special.efer & spec::EFER_SCE != 0;
        self.require(enabled, Exception::INVALID_OPCODE)?;
        self.require_supervisor()?;
        Ok((self.msr(spec::MSR_STAR)? >> 48) as u16)
    }

    fn return_to_user(&mut self, rip: u64, code: Segment, selectors: u16) {
        let registers = &mut self.state.registers;
        registers.rip = rip;
        registers.rflags = registers.r11 & SYSRET_FLAGS | FIXED_FLAG;
        self.state.special.cs = code;
        self.state.special.ss = user_data(selectors.wrapping_add(8));
    }

    /// To 64-bit code of ring 0 (Intel SDM vol. 2B, SYSENTER). In 64-bit mode AMD's CPUs have neither it nor
    /// SYSEXIT.
    pub(super) fn sysenter(&mut self) -> Run<E> {
        let selector = self.sysenter_selector()?;
        let rsp = self.msr(spec::MSR_SYSENTER_ESP)?;
        let rip = self.msr(spec::MSR_SYSENTER_EIP)?;
        let registers = &mut self.state.registers;
        (registers.rsp, registers.rip) = (rsp, rip);
        registers.rflags &= !(spec::VM | spec::IF);
        let flat = |segment: Segment| Segment {
            selector: segment.selector & !3,
            dpl: 0,
            ..segment
        };
        self.state.special.cs = flat(user_code(selector, true));
        self.state.special.ss = flat(user_data(selector.wrapping_add(8)));
        Ok(())
    }

    /// SYSEXIT to compatibility mode.
    pub(super) fn sysexit(&mut self) -> Run<E> {
        let selector = self.sysexit_selector()?.wrapping_add(16);
        let registers = &mut self.state.registers;
        registers.rsp = registers.rcx & 0xffff_ffff;
        registers.rip = registers.rdx & 0xffff_ffff;
        self.exit_to_user(user_code(selector, false));
        Ok(())
    }

    /// SYSEXIT with a 64-bit operand size.
    pub(super) fn sysexitq(&mut self) -> Run<E> {
        let selector = self.sysexit_selector()?.wrapping_add(32);
        let (rsp, rip) = (self.state.registers.rcx, self.state.registers.rdx);
        let canonical = self.state.is_canonical(rsp) && self.state.is_canonical(rip);
        self.require(canonical, Exception::GENERAL_PROTECTION)?;
        (self.state.registers.rsp, self.state.registers.rip) = (rsp, rip);
        self.exit_to_user(user_code(selector, true));
        Ok(())
    }

    fn exit_to_user(&mut self, code: Segment) {
        self.state.special.cs = code;
        self.state.special.ss = user_data(code.selector.wrapping_add(8));
    }

    fn sysexit_selector(&mut self) -> Run<E, u16> {
        self.require_supervisor()?;
        self.sysenter_selector()
    }

    /// IA32_SYSENTER_CS, if these instructions are allowed.
    fn sysenter_selector(&mut self) -> Run<E, u16> {
        let has_them = !self.cpuid.is_amd();
        self.require(has_them, Exception::INVALID_OPCODE)?;
        let selector = self.msr(spec::MSR_SYSENTER_CS)? as u16 & !3;
        self.require(selector != 0, Exception::GENERAL_PROTECTION)?;
        Ok(selector)
    }

    /// Intel SDM vol. 2B, RDPID: TSC_AUX, zero-extended.
    pub(super) fn rdpid(&mut self) -> Run<E> {
        let value = self.msr(spec::MSR_TSC_AUX)? & 0xffff_ffff;
        self.set_value(self.instruction.op0_register(), value);
        Ok(())
    }
}

/// Flat code of privilege level 3, as SYSRET and SYSEXIT make it without reading a descriptor.
fn user_code(selector: u16, long: bool) -> Segment {
    Segment {
        kind: 11,
        db: !long,
        l: long,
        ..user_segment(selector)
    }
}

/// Flat data of privilege level 3.
fn user_data(selector: u16) -> Segment {
    Segment {
        kind: 3,
        db: true,
        ..user_segment(selector)
    }
}

fn user_segment(selector: u16) -> Segment {
    Segment {
        base: 0,
        limit: u32::MAX,
        selector: selector | 3,
        present: true,
        dpl: 3,
        s: true,
        g: true,
        ..Segment::default()
    }
}
