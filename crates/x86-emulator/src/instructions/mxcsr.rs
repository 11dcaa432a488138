//! LDMXCSR and STMXCSR (Intel SDM vol. 2A and 2B).

use crate::cpu::{Cpu, Run};
use crate::{Exception, ExtendedState, PhysicalMemory};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn ldmxcsr(&mut self) -> Run<E> {
        self.require_sse()?;
        let value = u32::from_le_bytes(self.read(self.place())?);
        let mut area = self.load()?;
        let valid = value & !area.mxcsr_mask() == 0;
        self.require(valid, Exception::GENERAL_PROTECTION)?;
        area.set_mxcsr(value);
        self.store(area)
    }

    pub(super) fn stmxcsr(&mut self) -> Run<E> {
        self.require_sse()?;
        let area = self.load()?;
        self.write(self.place(), &area.mxcsr().to_le_bytes())
    }
}
