//! CMPXCHG8B and CMPXCHG16B (Intel SDM vol. 2A). With and without LOCK they are done alike: an
//! exchange that is atomic is also right where none was asked for.

use vmmkit_hypervisor::x86::Registers;

use crate::cpu::{Cpu, Run, Stop};
use crate::paging::Access;
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn cmpxchg8b(&mut self) -> Run<E> {
        let place = self.place();
        if !place.linear.is_multiple_of(8) {
            return Err(Stop::Unsupported); // a split lock, which no kernel takes
        }
        // The CPU writes in any case, if only what was there: a read-only page faults always.
        let span = self.span(place, 8, Access::Write)?;
        let Registers { rbx, rcx, .. } = self.state.registers;
        let expected = self.edx_eax();
        let new = rcx << 32 | rbx & 0xffff_ffff;
        let address = span.start();
        let seen = self.memory.compare_exchange_u64(address, expected, new);
        let seen = self.in_ram(seen.map_err(|_| address))?;
        if seen != expected {
            self.set_edx_eax(seen);
        }
        self.set_zero_flag(seen == expected);
        Ok(())
    }

    pub(super) fn cmpxchg16b(&mut self) -> Run<E> {
        let place = self.place();
        self.check_canonical(place.linear, 16, place.stack)?;
        let aligned = place.linear.is_multiple_of(16);
        self.require(aligned, Exception::GENERAL_PROTECTION)?;
        let span = self.span(place, 16, Access::Write)?;
        let Registers {
            rax, rbx, rcx, rdx, ..
        } = self.state.registers;
        let expected = u128::from(rdx) << 64 | u128::from(rax);
        let new = u128::from(rcx) << 64 | u128::from(rbx);
        let address = span.start();
        let seen = self.memory.compare_exchange_u128(address, expected, new);
        let seen = self.in_ram(seen.map_err(|_| address))?;
        if seen != expected {
            self.state.registers.rax = seen as u64;
            self.state.registers.rdx = (seen >> 64) as u64;
        }
        self.set_zero_flag(seen == expected);
        Ok(())
    }

    fn set_zero_flag(&mut self, set: bool) {
        let flags = self.state.registers.rflags & !spec::ZF;
        self.state.registers.rflags = if set { flags | spec::ZF } else { flags };
    }
}
