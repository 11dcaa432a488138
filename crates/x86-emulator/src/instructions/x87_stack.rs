//! The x87's constants, and what moves and looks at its registers without arithmetic (Intel SDM vol. 2A).

use iced_x86::Mnemonic;

use super::x87_number::{C0, C1, C2, C3, defined, push, register_number, rounding, set_flags};
use crate::cpu::{Cpu, Run};
use crate::float80::Direction;
use crate::{ExtendedState, PhysicalMemory, spec};

/// The classes of FXAM (vol. 2A, table 3-42).
const NAN: u16 = C0;
const NORMAL: u16 = C2;
const INFINITE: u16 = C2 | C0;
const ZERO: u16 = C3;
const EMPTY: u16 = C3 | C0;
const DENORMAL: u16 = C3 | C2;
const UNSUPPORTED: u16 = 0;

/// A constant: sign and exponent, the significand rounded down, and whether it is nearer to the next one.
struct Constant {
    exponent: u16,
    significand: u64,
    nearest_is_above: bool,
    is_exact: bool,
}

impl Constant {
    const fn exact(exponent: u16, significand: u64) -> Self {
        Self {
            exponent,
            significand,
            nearest_is_above: false,
            is_exact: true,
        }
    }

    const fn rounded(exponent: u16, significand: u64, nearest_is_above: bool) -> Self {
        Self {
            exponent,
            significand,
            nearest_is_above,
            is_exact: false,
        }
    }

    /// Rounded as FCW asks, to 64 bits whatever its precision is (vol. 1, 8.3.8).
    fn bytes(&self, direction: Direction) -> [u8; 10] {
        let up = match direction {
            Direction::Nearest => self.nearest_is_above,
            Direction::Up => !self.is_exact,
            Direction::Down | Direction::Zero => false,
        };
        let significand = self.significand.wrapping_add(u64::from(up));
        let [a, b, c, d, e, f, g, h] = significand.to_le_bytes();
        let [low, high] = self.exponent.to_le_bytes();
        [a, b, c, d, e, f, g, h, low, high]
    }
}

/// log2(10), log2(e), pi, log10(2), ln(2); 1 and 0.
fn constant(mnemonic: Mnemonic) -> Constant {
    match mnemonic {
        Mnemonic::Fldl2t => Constant::rounded(0x4000, 0xd49a_784b_cd1b_8afe, false),
        Mnemonic::Fldl2e => Constant::rounded(0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
        Mnemonic::Fldpi => Constant::rounded(0x4000, 0xc90f_daa2_2168_c234, true),
        Mnemonic::Fldlg2 => Constant::rounded(0x3ffd, 0x9a20_9a84_fbcf_f798, true),
        Mnemonic::Fldln2 => Constant::rounded(0x3ffe, 0xb172_17f7_d1cf_79ab, true),
        Mnemonic::Fld1 => Constant::exact(0x3fff, 1 << 63),
        _ => Constant::exact(0, 0),
    }
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// FLD1, FLDZ and the other constants.
    pub(super) fn x87_constant(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let constant = constant(self.instruction.mnemonic());
        let bytes = constant.bytes(rounding(&area).direction);
        push(&mut area, bytes)?;
        self.store(area)
    }

    /// FCMOVcc. A register that is empty is left to the caller as not completed.
    pub(super) fn x87_move(&mut self) -> Run<E> {
        use Mnemonic as M;
        let mut area = self.x87()?;
        defined(area.st(0))?;
        let value = defined(area.st(self.source_register()))?;
        let mnemonic = self.instruction.mnemonic();
        let tested = match mnemonic {
            M::Fcmovb | M::Fcmovnb => spec::CF,
            M::Fcmove | M::Fcmovne => spec::ZF,
            M::Fcmovbe | M::Fcmovnbe => spec::CF | spec::ZF,
            _ => spec::PF,
        };
        let negated = matches!(mnemonic, M::Fcmovnb | M::Fcmovne | M::Fcmovnbe | M::Fcmovnu);
        let is_set = self.state.registers.rflags & tested != 0;
        if is_set != negated {
            area.set_st(0, value);
        }
        self.store(area)
    }

    /// FXAM, of an empty register too.
    pub(super) fn x87_examine(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let bytes = area.register(0);
        let class = match area.st(0) {
            Some(bytes) => class(bytes),
            None => EMPTY,
        };
        let [.., high] = bytes;
        let sign = if high >> 7 != 0 { C1 } else { 0 };
        set_flags(&mut area, C0 | C1 | C2 | C3, class | sign);
        self.store(area)
    }

    /// FFREE, and FFREEP, which pops too.
    pub(super) fn x87_free(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        area.free(register_number(self.instruction.op0_register()));
        if self.instruction.mnemonic() == Mnemonic::Ffreep {
            area.pop();
        }
        self.store(area)
    }

    /// FINCSTP and FDECSTP: no register becomes empty, and none is filled.
    pub(super) fn x87_turn(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let up = self.instruction.mnemonic() == Mnemonic::Fincstp;
        area.turn(if up { 1 } else { 7 });
        set_flags(&mut area, C1, 0);
        self.store(area)
    }

    /// FNOP reports a pending error, and does nothing.
    pub(super) fn x87_nop(&mut self) -> Run<E> {
        self.x87().map(|_| ())
    }
}

/// The class of a register that is not empty (vol. 1, table 8-3 and 8.2.2).
fn class(bytes: [u8; 10]) -> u16 {
    let [significand @ .., low, high] = bytes;
    let exponent = u16::from_le_bytes([low, high]) & 0x7fff;
    let significand = u64::from_le_bytes(significand);
    let integer_bit = significand >> 63 != 0;
    match (exponent, significand << 1) {
        (0, _) if significand == 0 => ZERO,
        (0, _) => DENORMAL,
        _ if !integer_bit => UNSUPPORTED,
        (0x7fff, 0) => INFINITE,
        (0x7fff, _) => NAN,
        _ => NORMAL,
    }
}

/// The two bits of the whole tag word for a register that is not empty (vol. 1, 8.1.7).
pub(super) fn tag(bytes: [u8; 10]) -> u16 {
    match class(bytes) {
        NORMAL => 0,
        ZERO => 1,
        _ => 2,
    }
}
