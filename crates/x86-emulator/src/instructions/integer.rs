//! POPCNT, CRC32, CLAC and STAC.

use iced_x86::Code;

use crate::cpu::{Cpu, Run};
use crate::operand::size_of;
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

/// The polynomial 11EDC6F41H, reflected.
const CRC32C: u32 = 0x82f6_3b78;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// Intel SDM vol. 2B, POPCNT: ZF tells of a source of 0, the other arithmetic flags are clear.
    pub(super) fn popcnt(&mut self) -> Run<E> {
        let destination = self.instruction.op0_register();
        let size = size_of(destination);
        let source = self.operand(1, size)?;
        self.set_value(destination, source.count_ones().into());
        let arithmetic = spec::CF | spec::PF | spec::AF | spec::ZF | spec::SF | spec::OF;
        let zero = if source == 0 { spec::ZF } else { 0 };
        let flags = &mut self.state.registers.rflags;
        *flags = *flags & !arithmetic | zero;
        Ok(())
    }

    /// Intel SDM vol. 2A, CRC32: bit-reflected, without inversion before and after.
    pub(super) fn crc32(&mut self) -> Run<E> {
        let destination = self.instruction.op0_register();
        let size = match self.instruction.code() {
            Code::Crc32_r32_rm8 | Code::Crc32_r64_rm8 => 1,
            Code::Crc32_r32_rm16 => 2,
            Code::Crc32_r32_rm32 => 4,
            _ => 8,
        };
        let source = self.operand(1, size)?;
        let start = self.value(destination) as u32;
        let bytes = source.to_le_bytes().into_iter().take(size);
        let crc = bytes.fold(start, |crc, byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                let polynomial = if crc & 1 == 0 { 0 } else { CRC32C };
                crc >> 1 ^ polynomial
            })
        });
        self.set_value(destination, crc.into());
        Ok(())
    }

    pub(super) fn clac(&mut self) -> Run<E> {
        self.require_level_0_for_ac()?;
        self.state.registers.rflags &= !spec::AC;
        Ok(())
    }

    pub(super) fn stac(&mut self) -> Run<E> {
        self.require_level_0_for_ac()?;
        self.state.registers.rflags |= spec::AC;
        Ok(())
    }

    /// CLAC and STAC are not instructions elsewhere (Intel SDM vol. 2A, CLAC). CR4.SMAP is not
    /// asked for.
    fn require_level_0_for_ac(&self) -> Run<E> {
        let supervisor = self.state.privilege_level() == 0;
        self.require(supervisor, Exception::INVALID_OPCODE)
    }
}
