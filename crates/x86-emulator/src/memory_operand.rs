//! Operands in memory: checked, translated, read and written.

use crate::cpu::{Cpu, Place, Run, Stop};
use crate::paging::{Access, Span};
use crate::{ExtendedState, NotCompleted, PhysicalMemory};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// The `length` bytes of an operand, if `access` to them is allowed.
    pub(crate) fn span(&mut self, place: Place, length: usize, access: Access) -> Run<E, Span> {
        self.check_canonical(place.linear, length, place.stack)?;
        let span = self.translate(place.linear, length, access)?;
        if access == Access::Write {
            self.in_ram(span.check(self.memory))?;
        }
        Ok(span)
    }

    /// Reads an operand.
    pub(crate) fn read<const N: usize>(&mut self, place: Place) -> Run<E, [u8; N]> {
        let span = self.span(place, N, Access::Read)?;
        let mut bytes = [0; N];
        self.in_ram(span.read(self.memory, 0, &mut bytes))?;
        Ok(bytes)
    }

    /// Writes an operand.
    pub(crate) fn write(&mut self, place: Place, bytes: &[u8]) -> Run<E> {
        let span = self.span(place, bytes.len(), Access::Write)?;
        self.in_ram(span.write(self.memory, 0, bytes))
    }

    /// Makes the address that is not RAM an error.
    pub(crate) fn in_ram<T>(&self, result: Result<T, u64>) -> Run<E, T> {
        result.map_err(|address| Stop::NotCompleted(NotCompleted::NotRam { address }))
    }
}
