//! XGETBV and XSETBV (Intel SDM vol. 2D).

use crate::cpu::{Cpu, Run, extended};
use crate::xsave_area::{AVX, SSE, X87};
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

/// MPX: bounds and their configuration, enabled together.
const MPX: u64 = 3 << 3;
/// AVX-512: masks, upper halves of the low registers, high registers, enabled together.
const AVX512: u64 = 7 << 5;
/// AMX: tile configuration and data, enabled together.
const AMX: u64 = 3 << 17;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// ECX 0 is XCR0, ECX 1 those of its components that are in use.
    pub(super) fn xgetbv(&mut self) -> Run<E> {
        self.require_cr4(spec::CR4_OSXSAVE)?;
        let value = match self.state.registers.rcx as u32 {
            0 => self.xcr0()?,
            1 => self.xcr0()? & self.load()?.in_use(),
            _ => return self.require(false, Exception::GENERAL_PROTECTION),
        };
        self.set_edx_eax(value);
        Ok(())
    }

    pub(super) fn xsetbv(&mut self) -> Run<E> {
        self.require_cr4(spec::CR4_OSXSAVE)?;
        self.require_supervisor()?;
        let value = self.edx_eax();
        let known = self.state.registers.rcx as u32 == 0 && value & !self.cpuid.xsave.user == 0;
        let valid = known && is_consistent(value);
        self.require(valid, Exception::GENERAL_PROTECTION)?;
        self.extended.set_xcr0(value).map_err(extended)
    }
}

/// Which components need which (Intel SDM vol. 1, 13.3).
fn is_consistent(xcr0: u64) -> bool {
    let has = |bits| xcr0 & bits == bits;
    let all_or_none = |bits| xcr0 & bits == 0 || has(bits);
    has(X87)
        && (xcr0 & AVX == 0 || has(SSE))
        && (xcr0 & AVX512 == 0 || has(AVX | AVX512))
        && all_or_none(MPX)
        && all_or_none(AMX)
}
