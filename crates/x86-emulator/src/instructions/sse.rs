//! Moves, logic and integer arithmetic on XMM registers, as kernels use them between
//! kernel_fpu_begin and kernel_fpu_end (Intel SDM vol. 2). Not their VEX forms, and of those of MMX the
//! moves alone.

use iced_x86::{OpKind, Register};

use crate::cpu::{Cpu, Run, Stop};
use crate::xsave_area::XsaveArea;
use crate::{ExtendedState, PhysicalMemory, spec};

/// Whether an operand in memory must be at a multiple of its 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alignment {
    Required,
    Any,
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// MOVAPS, MOVAPD, MOVDQA and the non-temporal stores.
    pub(super) fn move_aligned(&mut self) -> Run<E> {
        self.move_16(Alignment::Required)
    }

    /// MOVUPS, MOVUPD, MOVDQU and LDDQU.
    pub(super) fn move_unaligned(&mut self) -> Run<E> {
        self.move_16(Alignment::Any)
    }

    fn move_16(&mut self, alignment: Alignment) -> Run<E> {
        self.require_sse()?;
        let mut area = self.load()?;
        let value = self.source_16(&area, alignment)?;
        if self.instruction.op0_kind() == OpKind::Memory {
            return self.write_16(value, alignment);
        }
        area.set_xmm(self.xmm(0)?, value);
        self.store(area)
    }

    /// MOVD: 32 bits, or 64 with REX.W, to and from a general register or memory.
    pub(super) fn movd(&mut self) -> Run<E> {
        self.move_low(4)
    }

    /// MOVQ: 64 bits, also between XMM registers.
    pub(super) fn movq(&mut self) -> Run<E> {
        self.move_low(8)
    }

    /// A move into an XMM register clears the rest of it.
    fn move_low(&mut self, size: usize) -> Run<E> {
        let from = self.instruction.op1_register();
        if from.is_mm() || self.instruction.op0_register().is_mm() {
            return self.move_mmx(size);
        }
        self.require_sse()?;
        let mut area = self.load()?;
        let mask = if size == 4 { 0xffff_ffff } else { u64::MAX };
        let value = match xmm_number(from) {
            Some(number) => area.xmm(number) as u64,
            None => self.operand(1, size)?,
        } & mask;
        let to = self.instruction.op0_register();
        if let Some(number) = xmm_number(to) {
            area.set_xmm(number, value.into());
            return self.store(area);
        }
        xmm_number(from).ok_or(Stop::Unsupported)?;
        if self.instruction.op0_kind() == OpKind::Memory {
            let bytes = value.to_le_bytes();
            return self.write(self.place(), bytes.get(..size).unwrap_or(&bytes));
        }
        self.set_value(to, value);
        Ok(())
    }

    /// To or from an MMX register, which makes all eight valid and TOP 0 (vol. 3, 12.2).
    fn move_mmx(&mut self, size: usize) -> Run<E> {
        self.require_simd()?;
        let mut area = self.load()?;
        self.raise_pending(&area)?;
        area.reset_top();
        area.set_tags(u8::MAX);
        let (to, from) = (
            self.instruction.op0_register(),
            self.instruction.op1_register(),
        );
        let mask = if size == 4 { 0xffff_ffff } else { u64::MAX };
        let value = match mmx_number(from) {
            Some(number) => area.mmx(number),
            None => self.operand(1, size)?,
        } & mask;
        if let Some(number) = mmx_number(to) {
            area.set_mmx(number, value);
        } else if self.instruction.op0_kind() == OpKind::Memory {
            let bytes = value.to_le_bytes();
            self.write(self.place(), bytes.get(..size).unwrap_or(&bytes))?;
        } else {
            self.set_value(to, value);
        }
        self.store(area)
    }

    pub(super) fn packed_and(&mut self) -> Run<E> {
        self.packed(|left, right| left & right)
    }

    pub(super) fn packed_and_not(&mut self) -> Run<E> {
        self.packed(|left, right| !left & right)
    }

    pub(super) fn packed_or(&mut self) -> Run<E> {
        self.packed(|left, right| left | right)
    }

    pub(super) fn packed_xor(&mut self) -> Run<E> {
        self.packed(|left, right| left ^ right)
    }

    pub(super) fn paddb(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(8, left, right, u64::wrapping_add))
    }

    pub(super) fn paddw(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(16, left, right, u64::wrapping_add))
    }

    pub(super) fn paddd(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(32, left, right, u64::wrapping_add))
    }

    pub(super) fn paddq(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(64, left, right, u64::wrapping_add))
    }

    pub(super) fn psubb(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(8, left, right, u64::wrapping_sub))
    }

    pub(super) fn psubw(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(16, left, right, u64::wrapping_sub))
    }

    pub(super) fn psubd(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(32, left, right, u64::wrapping_sub))
    }

    pub(super) fn psubq(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(64, left, right, u64::wrapping_sub))
    }

    pub(super) fn pcmpeqb(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(8, left, right, equal))
    }

    pub(super) fn pcmpeqw(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(16, left, right, equal))
    }

    pub(super) fn pcmpeqd(&mut self) -> Run<E> {
        self.packed(|left, right| lanes(32, left, right, equal))
    }

    /// As RAID 6 finds bytes with their high bit set.
    pub(super) fn pcmpgtb(&mut self) -> Run<E> {
        self.packed(|left, right| {
            lanes(8, left, right, |left, right| {
                if (left as u8).cast_signed() > (right as u8).cast_signed() {
                    u64::MAX
                } else {
                    0
                }
            })
        })
    }

    /// An XMM register becomes a function of itself and another one or 16 aligned bytes; of itself
    /// and 0 where the second operand is an immediate.
    pub(super) fn packed(&mut self, operation: impl Fn(u128, u128) -> u128) -> Run<E> {
        let destination = self.xmm(0)?;
        self.require_sse()?;
        let mut area = self.load()?;
        let source = match self.instruction.op1_kind() {
            OpKind::Immediate8 => 0,
            _ => self.source_16(&area, Alignment::Required)?,
        };
        let result = operation(area.xmm(destination), source);
        area.set_xmm(destination, result);
        self.store(area)
    }

    /// Operand 1 where it is an XMM register or memory.
    fn source_16(&mut self, area: &XsaveArea, alignment: Alignment) -> Run<E, u128> {
        if self.instruction.op1_kind() == OpKind::Register {
            return Ok(area.xmm(self.xmm(1)?));
        }
        self.check_alignment(alignment)?;
        Ok(u128::from_le_bytes(self.read(self.place())?))
    }

    fn write_16(&mut self, value: u128, alignment: Alignment) -> Run<E> {
        self.check_alignment(alignment)?;
        self.write(self.place(), &value.to_le_bytes())
    }

    fn check_alignment(&self, alignment: Alignment) -> Run<E> {
        match alignment {
            Alignment::Required => self.aligned_place(16, 16).map(|_| ()),
            Alignment::Any => Ok(()),
        }
    }

    /// The number of an operand that is an XMM register.
    fn xmm(&self, operand: u32) -> Run<E, usize> {
        let register = self.instruction.op_register(operand);
        xmm_number(register).ok_or(Stop::Unsupported)
    }

    /// #UD or #NM where SSE instructions are not to be used.
    pub(super) fn require_sse(&self) -> Run<E> {
        self.require_cr4(spec::CR4_OSFXSR)?;
        self.require_simd()
    }
}

/// XMM0 to XMM15.
fn xmm_number(register: Register) -> Option<usize> {
    let number = (register as usize).checked_sub(Register::XMM0 as usize)?;
    (number < 16).then_some(number)
}

/// MM0 to MM7.
fn mmx_number(register: Register) -> Option<usize> {
    register.is_mm().then(|| register.number())
}

/// Applies `operation` to each of the parts of so many bits.
pub(super) fn lanes(
    bits: u32,
    left: u128,
    right: u128,
    operation: impl Fn(u64, u64) -> u64,
) -> u128 {
    let mask = u64::MAX >> (64 - bits);
    (0..128 / bits).fold(0, |result, lane| {
        let shift = lane * bits;
        let part = |value: u128| (value >> shift) as u64 & mask;
        let value = operation(part(left), part(right)) & mask;
        result | u128::from(value) << shift
    })
}

fn equal(left: u64, right: u64) -> u64 {
    if left == right { u64::MAX } else { 0 }
}
