//! Fences and cache flushes: nothing to do where instructions are completed one at a time, in
//! order, on the host's coherent memory, but for the check of the address.

use std::sync::atomic::{Ordering, fence};

use crate::cpu::{Cpu, Run};
use crate::paging::Access;
use crate::{ExtendedState, PhysicalMemory};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn fence(&mut self) -> Run<E> {
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// A flush faults as a load of one byte does (Intel SDM vol. 2A, CLFLUSH). What it flushes need
    /// not be RAM.
    pub(super) fn flush(&mut self) -> Run<E> {
        self.span(self.place(), 1, Access::Read)?;
        Ok(())
    }
}
