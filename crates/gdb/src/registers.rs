//! Registers between GDB's packets and a vCPU.

use gdbstub_arch::x86::reg::X86_64CoreRegs;
use vmmkit_hypervisor::Result;
use vmmkit_hypervisor::x86::{FpuState, Registers, VcpuState};

/// All that GDB's packet of registers holds.
pub(crate) fn read(vcpu: &mut dyn VcpuState) -> Result<X86_64CoreRegs> {
    let (general, special, fpu) = (vcpu.registers()?, vcpu.special_registers()?, vcpu.fpu()?);
    let mut to = X86_64CoreRegs {
        regs: numbered(&general),
        eflags: general.rflags as u32,
        rip: general.rip,
        mxcsr: fpu.mxcsr,
        xmm: fpu.xmm.map(u128::from_le_bytes),
        ..X86_64CoreRegs::default()
    };
    let selector = |segment: vmmkit_hypervisor::x86::Segment| u32::from(segment.selector);
    to.segments.cs = selector(special.cs);
    to.segments.ss = selector(special.ss);
    to.segments.ds = selector(special.ds);
    to.segments.es = selector(special.es);
    to.segments.fs = selector(special.fs);
    to.segments.gs = selector(special.gs);
    for (st, register) in to.st.iter_mut().zip(fpu.fpr) {
        for (byte, from) in st.iter_mut().zip(register) {
            *byte = from;
        }
    }
    to.fpu.fctrl = fpu.fcw.into();
    to.fpu.fstat = fpu.fsw.into();
    to.fpu.ftag = full_tags(fpu.ftwx);
    to.fpu.fop = fpu.last_opcode.into();
    to.fpu.fioff = fpu.last_ip as u32;
    to.fpu.fiseg = (fpu.last_ip >> 32) as u32;
    to.fpu.fooff = fpu.last_dp as u32;
    to.fpu.foseg = (fpu.last_dp >> 32) as u32;
    Ok(to)
}

/// Sets general registers, RIP, RFLAGS, x87 and SSE. Segments stay as they are: a selector says
/// nothing of the hidden part of a segment.
pub(crate) fn write(vcpu: &mut dyn VcpuState, from: &X86_64CoreRegs) -> Result<()> {
    let old = vcpu.registers()?;
    let [
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rbp,
        rsp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
    ] = from.regs;
    let new = Registers {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rbp,
        rsp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: from.rip,
        rflags: old.rflags >> 32 << 32 | u64::from(from.eflags),
    };
    let old_fpu = vcpu.fpu()?;
    let mut fpu = FpuState {
        fcw: from.fpu.fctrl as u16,
        fsw: from.fpu.fstat as u16,
        ftwx: short_tags(from.fpu.ftag),
        mxcsr: from.mxcsr,
        xmm: from.xmm.map(u128::to_le_bytes),
        ..old_fpu
    };
    for (register, st) in fpu.fpr.iter_mut().zip(&from.st) {
        for (byte, from) in register.iter_mut().zip(st) {
            *byte = *from;
        }
    }
    if fpu != old_fpu {
        vcpu.set_fpu(&fpu)?;
    }
    vcpu.set_registers(&new)
}

/// In GDB's order (gdb/features/i386/64bit-core.xml).
fn numbered(r: &Registers) -> [u64; 16] {
    [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15,
    ]
}

/// The tag word of FNSAVE, 2 bits a register, of that of FXSAVE, 1 bit: empty is 3, and what is not
/// empty is told to be valid (AMD APM vol. 2, 11.4.4).
fn full_tags(short: u8) -> u32 {
    let is_empty = |register: &u32| short & 1 << register == 0;
    (0..8)
        .filter(is_empty)
        .map(|register| 3 << (register * 2))
        .sum()
}

fn short_tags(full: u32) -> u8 {
    let is_used = |register: &u32| full >> (register * 2) & 3 != 3;
    (0..8).filter(is_used).map(|register| 1 << register).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_both_ways() {
        assert_eq!(full_tags(0), 0xffff);
        assert_eq!(full_tags(0x81), 0x3ffc);
        assert!((0..=255).all(|tags| short_tags(full_tags(tags)) == tags));
    }
}
