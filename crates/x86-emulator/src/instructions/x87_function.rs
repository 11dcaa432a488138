//! The x87's functions of its registers (Intel SDM vol. 1, 8.3.5 to 8.3.10): remainders, scales, logarithms, powers
//! of two and trigonometry; and decimal numbers in memory (4.7).
//!
//! As with [arithmetic](super::x87_number), what is not zero or normal is left to the caller as not completed.

use iced_x86::Mnemonic;

use super::x87_number::{C0, C1, C2, C3, defined, push, rounding, set_flags, settle};
use crate::cpu::{Cpu, Run, Stop};
use crate::float80::Float80;
use crate::{ExtendedState, PhysicalMemory};

/// Packed decimal numbers have so many digits.
const DECIMAL_DIGITS: u32 = 18;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// FSIN, FCOS, FSINCOS and FPTAN. A number of 2^63 and more stays, and C2 says so.
    pub(super) fn x87_trigonometry(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let number = self.st_number(&area, 0)?;
        if !number.is_reducible() {
            set_flags(&mut area, C1 | C2, C2);
            return self.store(area);
        }
        let direction = rounding(&area).direction;
        let mnemonic = self.instruction.mnemonic();
        let first = match mnemonic {
            Mnemonic::Fcos => number.cosine(direction),
            Mnemonic::Fptan => number.tangent(direction),
            _ => number.sine(direction),
        };
        let first = settle(&mut area, defined(first)?)?;
        area.set_st(0, first.to_bytes());
        match mnemonic {
            Mnemonic::Fptan => push(&mut area, Float80::from_integer(1).to_bytes())?,
            Mnemonic::Fsincos => {
                let cosine = defined(number.cosine(direction))?;
                push(&mut area, cosine.value.to_bytes())?;
                settle(&mut area, cosine)?;
            }
            _ => {}
        }
        set_flags(&mut area, C2, 0);
        self.store(area)
    }

    /// F2XM1.
    pub(super) fn x87_power(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let number = self.st_number(&area, 0)?;
        let result = defined(number.power_of_2_minus_1(rounding(&area).direction))?;
        let value = settle(&mut area, result)?;
        area.set_st(0, value.to_bytes());
        self.store(area)
    }

    /// FYL2X, FYL2XP1 and FPATAN: of both registers, to the second, which becomes the first.
    pub(super) fn x87_of_two(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let (top, next) = (self.st_number(&area, 0)?, self.st_number(&area, 1)?);
        let direction = rounding(&area).direction;
        let result = match self.instruction.mnemonic() {
            Mnemonic::Fyl2x => top.log2_times(next, direction),
            Mnemonic::Fyl2xp1 => top.log2_of_1_more_times(next, direction),
            _ => next.angle(top, direction),
        };
        let value = settle(&mut area, defined(result)?)?;
        area.set_st(1, value.to_bytes());
        area.pop();
        self.store(area)
    }

    /// FPREM and FPREM1. The quotient's bits 2, 1 and 0 are C0, C3 and C1.
    pub(super) fn x87_remainder(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let (top, next) = (self.st_number(&area, 0)?, self.st_number(&area, 1)?);
        let nearest = self.instruction.mnemonic() == Mnemonic::Fprem1;
        let remainder = defined(top.remainder(next, nearest))?;
        area.set_st(0, remainder.value.to_bytes());
        let flags = remainder.quotient.map_or(C2, |quotient| {
            let bits = [(2, C0), (1, C3), (0, C1)];
            let set = bits.iter().filter(|(bit, _)| quotient >> bit & 1 != 0);
            set.map(|(_, flag)| flag).sum()
        });
        set_flags(&mut area, C0 | C1 | C2 | C3, flags);
        self.store(area)
    }

    /// FSCALE.
    pub(super) fn x87_scale(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let (top, next) = (self.st_number(&area, 0)?, self.st_number(&area, 1)?);
        area.set_st(0, defined(top.scaled(next))?.to_bytes());
        set_flags(&mut area, C1, 0);
        self.store(area)
    }

    /// FXTRACT.
    pub(super) fn x87_take_apart(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let (exponent, significand) = defined(self.st_number(&area, 0)?.taken_apart())?;
        area.set_st(0, exponent.to_bytes());
        push(&mut area, significand.to_bytes())?;
        self.store(area)
    }

    /// FBLD.
    pub(super) fn x87_load_decimal(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let [digits @ .., sign]: [u8; 10] = self.read(self.place())?;
        let mut value = 0;
        for byte in digits.iter().rev() {
            let (high, low) = (byte >> 4, byte & 15);
            // What other nibbles mean is not told.
            (high <= 9 && low <= 9)
                .then_some(())
                .ok_or(Stop::Unsupported)?;
            value = value * 100 + i64::from(high) * 10 + i64::from(low);
        }
        let number = Float80::from_integer(value);
        let number = if sign >> 7 != 0 {
            number.negated()
        } else {
            number
        };
        push(&mut area, number.to_bytes())?;
        self.store(area)
    }

    /// FBSTP.
    pub(super) fn x87_store_decimal(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let number = self.st_number(&area, 0)?;
        let integer = defined(number.to_integer(64, rounding(&area).direction))?;
        let mut rest = settle(&mut area, integer)?.unsigned_abs();
        (rest < 10_u64.pow(DECIMAL_DIGITS))
            .then_some(())
            .ok_or(Stop::Unsupported)?;
        let mut image = [0; 10];
        let [digits @ .., sign] = &mut image;
        for byte in digits {
            *byte = (rest / 10 % 10 * 16 + rest % 10) as u8;
            rest /= 100;
        }
        *sign = u8::from(number.is_negative()) << 7;
        self.write(self.place(), &image)?;
        area.pop();
        self.store(area)
    }
}
