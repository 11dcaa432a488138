//! Operands: general registers by number, and addresses of memory.

use iced_x86::{OpKind, Register};
use vmmkit_hypervisor::x86::Registers;

use crate::cpu::{Cpu, Place, Run, Stop};
use crate::{ExtendedState, PhysicalMemory};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// The place of the instruction's memory operand (Intel SDM vol. 1, 3.7.5 and 3.3.7).
    pub(crate) fn place(&self) -> Place {
        let instruction = &self.instruction;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64();
        let mut offset = displacement;
        // A RIP-relative displacement comes as the whole address.
        if !instruction.is_ip_rel_memory_operand() {
            let scale = u64::from(instruction.memory_index_scale());
            let scaled = self.value(index).wrapping_mul(scale);
            offset = self
                .value(base)
                .wrapping_add(scaled)
                .wrapping_add(displacement);
        }
        let no_register = base == Register::None && index == Register::None;
        if base == Register::EIP
            || size_of(base) == 4
            || size_of(index) == 4
            || no_register && instruction.memory_displ_size() == 4
        {
            offset &= 0xffff_ffff; // address-size prefix
        }
        // The other prefixes are ignored in 64-bit mode, also for the choice of #SS.
        let (segment_base, stack) = match instruction.segment_prefix() {
            Register::FS => (self.state.special.fs.base, false),
            Register::GS => (self.state.special.gs.base, false),
            _ => (0, is_stack_register(base)),
        };
        Place {
            linear: segment_base.wrapping_add(offset),
            stack,
        }
    }

    /// The value of a general register as it is named, zero-extended; 0 for any other.
    pub(crate) fn value(&self, register: Register) -> u64 {
        let mut registers = self.state.registers;
        if let Some((number, shift)) = byte(register) {
            return *slot(&mut registers, number) >> shift & 0xff;
        }
        let Some((number, size)) = general(register) else {
            return 0;
        };
        let whole = *slot(&mut registers, number);
        match size {
            2 => whole & 0xffff,
            4 => whole & 0xffff_ffff,
            _ => whole,
        }
    }

    /// Sets a general register as the CPU does in 64-bit mode: 32 bits clear the upper half, 16
    /// bits leave the rest alone.
    pub(crate) fn set_value(&mut self, register: Register, value: u64) {
        let Some((number, size)) = general(register) else {
            return;
        };
        let whole = slot(&mut self.state.registers, number);
        *whole = match size {
            2 => *whole & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// The value of operand `number`: a general register, or `size` bytes of memory.
    pub(crate) fn operand(&mut self, number: u32, size: usize) -> Run<E, u64> {
        match (self.instruction.op_kind(number), size) {
            (OpKind::Register, _) => Ok(self.value(self.instruction.op_register(number))),
            (OpKind::Memory, 1) => Ok(u8::from_le_bytes(self.read(self.place())?).into()),
            (OpKind::Memory, 2) => Ok(u16::from_le_bytes(self.read(self.place())?).into()),
            (OpKind::Memory, 4) => Ok(u32::from_le_bytes(self.read(self.place())?).into()),
            (OpKind::Memory, 8) => Ok(u64::from_le_bytes(self.read(self.place())?)),
            _ => Err(Stop::Unsupported),
        }
    }

    /// EDX:EAX.
    pub(crate) fn edx_eax(&self) -> u64 {
        let registers = &self.state.registers;
        registers.rdx << 32 | registers.rax & 0xffff_ffff
    }

    /// Sets EDX:EAX, clearing the upper halves of RDX and RAX.
    pub(crate) fn set_edx_eax(&mut self, value: u64) {
        self.state.registers.rax = value & 0xffff_ffff;
        self.state.registers.rdx = value >> 32;
    }
}

/// Addresses with these as base are in the stack segment.
fn is_stack_register(base: Register) -> bool {
    matches!(
        base,
        Register::RSP | Register::RBP | Register::ESP | Register::EBP
    )
}

/// Size in bytes of a general register of 16, 32 or 64 bits; 0 for any other.
pub(crate) fn size_of(register: Register) -> usize {
    general(register).map_or(0, |(_, size)| size)
}

/// Number and size in bytes of a general register of 16, 32 or 64 bits.
fn general(register: Register) -> Option<(usize, usize)> {
    let from = |first: Register| {
        let number = (register as usize).checked_sub(first as usize)?;
        (number < 16).then_some(number)
    };
    from(Register::RAX)
        .map(|number| (number, 8))
        .or_else(|| from(Register::EAX).map(|number| (number, 4)))
        .or_else(|| from(Register::AX).map(|number| (number, 2)))
}

/// Number of the register that a byte register is a part of, and where in it: AH to BH are bits
/// 15:8 of the first four.
fn byte(register: Register) -> Option<(usize, u32)> {
    match (register as usize).checked_sub(Register::AL as usize)? {
        low @ 0..4 => Some((low, 0)),
        high @ 4..8 => Some((high - 4, 8)),
        with_rex @ 8..20 => Some((with_rex - 4, 0)),
        _ => None,
    }
}

/// The register of that number (Intel SDM vol. 2A, table 2-2 and 3.1.1.1).
fn slot(registers: &mut Registers, number: usize) -> &mut u64 {
    match number {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}
