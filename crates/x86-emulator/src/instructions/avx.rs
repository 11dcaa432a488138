//! VZEROUPPER and VZEROALL: what kernels' own vector code ends with (Intel SDM vol. 2C).

use crate::cpu::{Cpu, Run};
use crate::xsave_area::{AVX, SSE, XMM_REGISTERS, ZMM_UPPER};
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

/// Component numbers: upper halves of YMM0 to YMM15, and of ZMM0 to ZMM15.
const UPPER: [u32; 2] = [2, 6];

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// Bits 128 and up of registers 0 to 15. The others, 16 to 31, keep theirs.
    pub(super) fn vzeroupper(&mut self) -> Run<E> {
        self.zero_vectors(false)
    }

    /// All bits of registers 0 to 15.
    pub(super) fn vzeroall(&mut self) -> Run<E> {
        self.zero_vectors(true)
    }

    fn zero_vectors(&mut self, all: bool) -> Run<E> {
        self.require_cr4(spec::CR4_OSXSAVE)?;
        let enabled = self.xcr0()? & (SSE | AVX) == SSE | AVX;
        self.require(enabled, Exception::INVALID_OPCODE)?;
        self.require_available(spec::CR0_TS)?;
        let mut area = self.load()?;
        for component in UPPER {
            area.initialise(component, &self.cpuid.xsave);
        }
        area.set_xstate_bv(area.xstate_bv() & !(AVX | ZMM_UPPER));
        if all {
            area.zero(XMM_REGISTERS);
        }
        self.store(area)
    }
}
