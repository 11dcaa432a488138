//! RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE (Intel SDM vol. 2B).

use crate::cpu::{Cpu, Run};
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn rdfsbase(&mut self) -> Run<E> {
        self.read_base(self.state.special.fs.base)
    }

    pub(super) fn rdgsbase(&mut self) -> Run<E> {
        self.read_base(self.state.special.gs.base)
    }

    pub(super) fn wrfsbase(&mut self) -> Run<E> {
        self.state.special.fs.base = self.new_base()?;
        Ok(())
    }

    pub(super) fn wrgsbase(&mut self) -> Run<E> {
        self.state.special.gs.base = self.new_base()?;
        Ok(())
    }

    fn read_base(&mut self, base: u64) -> Run<E> {
        self.require_cr4(spec::CR4_FSGSBASE)?;
        self.set_value(self.instruction.op0_register(), base);
        Ok(())
    }

    /// The source; one of 32 bits is zero-extended.
    fn new_base(&self) -> Run<E, u64> {
        self.require_cr4(spec::CR4_FSGSBASE)?;
        let base = self.value(self.instruction.op0_register());
        let canonical = self.state.is_canonical(base);
        self.require(canonical, Exception::GENERAL_PROTECTION)?;
        Ok(base)
    }
}
