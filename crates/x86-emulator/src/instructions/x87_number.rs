//! Arithmetic of the x87 (Intel SDM vol. 1, chapter 8): loads, stores, sums, products, quotients and
//! comparisons of numbers that are zero or normal.
//!
//! Results that would set another flag than "inexact" are left to the caller as not completed: infinities, NaNs,
//! denormals, results out of range, a register that is empty or full, an exception that is not masked.

use std::cmp::Ordering;

use iced_x86::{MemorySize, Mnemonic, OpKind, Register};

use crate::cpu::{Cpu, Run, Stop};
use crate::float80::{Direction, Float80, Narrow, Rounded, Rounding};
use crate::{ExtendedState, PhysicalMemory, XsaveArea, spec};

/// FCW: inexact results are masked (PM).
const PRECISION_MASK: u16 = 1 << 5;
/// FSW: an inexact result (PE), and rounded away from zero (C1).
const PRECISION: u16 = 1 << 5;
pub(super) const C0: u16 = 1 << 8;
pub(super) const C1: u16 = 1 << 9;
pub(super) const C2: u16 = 1 << 10;
pub(super) const C3: u16 = 1 << 14;

/// An operation on two numbers.
type Operation = fn(Float80, Float80, Rounding) -> Option<Rounded<Float80>>;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// FLD and FILD.
    pub(super) fn x87_load(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let bytes = match self.instruction.op0_kind() {
            // As it is, whatever it is.
            OpKind::Memory if self.instruction.memory_size() == MemorySize::Float80 => {
                self.read(self.place())?
            }
            OpKind::Memory => {
                let number = self.memory_number()?;
                number.to_bytes()
            }
            _ => {
                let number = self.source_register();
                defined(area.st(number))?
            }
        };
        push(&mut area, bytes)?;
        self.store(area)
    }

    /// FST, FSTP, FIST, FISTP and FISTTP.
    pub(super) fn x87_store(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let bytes = defined(area.st(0))?;
        if self.instruction.op0_kind() == OpKind::Memory {
            let (image, length) = self.stored(&mut area, bytes)?;
            let image = image.get(..length).unwrap_or_default();
            // The store is refused before anything is changed.
            self.write(self.place(), image)?;
        } else {
            let number = register_number(self.instruction.op0_register());
            area.set_st(number, bytes);
            set_flags(&mut area, C1, 0);
        }
        if self.pops() {
            area.pop();
        }
        self.store(area)
    }

    /// The number in the format of the memory operand, and its bytes.
    fn stored(&mut self, area: &mut XsaveArea, bytes: [u8; 10]) -> Run<E, ([u8; 10], usize)> {
        let direction = match self.instruction.mnemonic() {
            Mnemonic::Fisttp => Direction::Zero,
            _ => rounding(area).direction,
        };
        let number = || defined(Float80::from_bytes(bytes));
        let mut image = [0; 10];
        let mut put = |word: u64| {
            let places = image.iter_mut().zip(word.to_le_bytes());
            places.for_each(|(place, byte)| *place = byte);
        };
        let length = self.instruction.memory_size().size();
        match self.instruction.memory_size() {
            MemorySize::Float80 => {
                set_flags(area, C1, 0);
                return Ok((bytes, 10));
            }
            MemorySize::Float32 => {
                let narrow = number()?.to_narrow(Narrow::SINGLE, direction);
                put(settle(area, defined(narrow)?)?);
            }
            MemorySize::Float64 => {
                let narrow = number()?.to_narrow(Narrow::DOUBLE, direction);
                put(settle(area, defined(narrow)?)?);
            }
            _ => {
                let integer = number()?.to_integer(length as u32 * 8, direction);
                put(settle(area, defined(integer)?)?.cast_unsigned());
            }
        }
        Ok((image, length))
    }

    /// FADD, FADDP, FIADD, and so for the other operations.
    pub(super) fn x87_arithmetic(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let (target, left, right) = self.operands(&area)?;
        let (operation, reversed) = operation(self.instruction.mnemonic());
        let (left, right) = if reversed {
            (right, left)
        } else {
            (left, right)
        };
        let result = defined(operation(left, right, rounding(&area)))?;
        let value = settle(&mut area, result)?;
        area.set_st(target, value.to_bytes());
        if self.pops() {
            area.pop();
        }
        self.store(area)
    }

    /// Where the result goes, and the two numbers.
    fn operands(&mut self, area: &XsaveArea) -> Run<E, (usize, Float80, Float80)> {
        if self.instruction.op0_kind() == OpKind::Memory {
            let other = self.memory_number()?;
            return Ok((0, self.st_number(area, 0)?, other));
        }
        let target = register_number(self.instruction.op0_register());
        let left = self.st_number(area, target)?;
        Ok((target, left, self.st_number(area, self.source_register())?))
    }

    /// FCOM and FUCOM with their likes, which set C3, C2 and C0; FCOMI and its likes, which set ZF, PF and CF.
    pub(super) fn x87_compare(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let top = self.st_number(&area, 0)?;
        let mnemonic = self.instruction.mnemonic();
        let other = match mnemonic {
            Mnemonic::Ftst => Float80::ZERO,
            Mnemonic::Fcompp | Mnemonic::Fucompp => self.st_number(&area, 1)?,
            _ if self.instruction.op0_kind() == OpKind::Memory => self.memory_number()?,
            _ => self.st_number(&area, self.source_register())?,
        };
        let order = top.compare(other);
        let to_flags = matches!(
            mnemonic,
            Mnemonic::Fcomi | Mnemonic::Fcomip | Mnemonic::Fucomi | Mnemonic::Fucomip
        );
        if to_flags {
            let all = spec::CF | spec::PF | spec::ZF | spec::AF | spec::SF | spec::OF;
            let flags = match order {
                Ordering::Less => spec::CF,
                Ordering::Equal => spec::ZF,
                Ordering::Greater => 0,
            };
            let rflags = &mut self.state.registers.rflags;
            *rflags = *rflags & !all | flags;
            set_flags(&mut area, C1, 0);
        } else {
            let flags = match order {
                Ordering::Less => C0,
                Ordering::Equal => C3,
                Ordering::Greater => 0,
            };
            set_flags(&mut area, C0 | C1 | C2 | C3, flags);
        }
        if self.pops() {
            area.pop();
        }
        if matches!(mnemonic, Mnemonic::Fcompp | Mnemonic::Fucompp) {
            area.pop();
        }
        self.store(area)
    }

    /// FABS, FCHS, FRNDINT and FSQRT.
    pub(super) fn x87_unary(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let number = self.st_number(&area, 0)?;
        let exact = |value| Rounded {
            value,
            inexact: false,
            up: false,
        };
        let result = match self.instruction.mnemonic() {
            Mnemonic::Fabs => exact(number.magnitude()),
            Mnemonic::Fchs => exact(number.negated()),
            Mnemonic::Fsqrt => defined(number.square_root(rounding(&area)))?,
            _ => defined(number.to_whole(rounding(&area).direction))?,
        };
        let value = settle(&mut area, result)?;
        area.set_st(0, value.to_bytes());
        self.store(area)
    }

    /// FXCH.
    pub(super) fn x87_exchange(&mut self) -> Run<E> {
        let mut area = self.x87()?;
        let number = self.source_register();
        let (top, other) = (defined(area.st(0))?, defined(area.st(number))?);
        area.set_st(0, other);
        area.set_st(number, top);
        set_flags(&mut area, C1, 0);
        self.store(area)
    }

    /// The state, where the unit is to be used and has no error to report.
    pub(super) fn x87(&mut self) -> Run<E, XsaveArea> {
        self.require_x87()?;
        let area = self.load()?;
        self.raise_pending(&area)?;
        Ok(area)
    }

    pub(super) fn st_number(&self, area: &XsaveArea, number: usize) -> Run<E, Float80> {
        defined(area.st(number).and_then(Float80::from_bytes))
    }

    /// The memory operand, as a number.
    fn memory_number(&mut self) -> Run<E, Float80> {
        let place = self.place();
        match self.instruction.memory_size() {
            MemorySize::Float32 => {
                let word = u32::from_le_bytes(self.read(place)?);
                defined(Float80::from_narrow(word.into(), Narrow::SINGLE))
            }
            MemorySize::Float64 => {
                let word = u64::from_le_bytes(self.read(place)?);
                defined(Float80::from_narrow(word, Narrow::DOUBLE))
            }
            MemorySize::Int16 => {
                let integer = i16::from_le_bytes(self.read(place)?);
                Ok(Float80::from_integer(integer.into()))
            }
            MemorySize::Int32 => {
                let integer = i32::from_le_bytes(self.read(place)?);
                Ok(Float80::from_integer(integer.into()))
            }
            MemorySize::Int64 => Ok(Float80::from_integer(i64::from_le_bytes(self.read(place)?))),
            _ => Err(Stop::Unsupported),
        }
    }

    /// The register that is the source: the last operand.
    pub(super) fn source_register(&self) -> usize {
        let last = self.instruction.op_count().saturating_sub(1);
        register_number(self.instruction.op_register(last))
    }

    fn pops(&self) -> bool {
        use Mnemonic as M;
        let mnemonic = self.instruction.mnemonic();
        let arithmetic = matches!(
            mnemonic,
            M::Faddp | M::Fsubp | M::Fsubrp | M::Fmulp | M::Fdivp | M::Fdivrp
        );
        let comparison = matches!(
            mnemonic,
            M::Fcomp | M::Fcompp | M::Ficomp | M::Fcomip | M::Fucomp | M::Fucompp | M::Fucomip
        );
        arithmetic || comparison || matches!(mnemonic, M::Fstp | M::Fistp | M::Fisttp)
    }
}

/// The operation of an instruction, and whether its operands change places.
fn operation(mnemonic: Mnemonic) -> (Operation, bool) {
    use Mnemonic as M;
    let subtract: Operation = |left, right, rounding| left.add(right.negated(), rounding);
    match mnemonic {
        M::Fadd | M::Faddp | M::Fiadd => (Float80::add, false),
        M::Fmul | M::Fmulp | M::Fimul => (Float80::multiply, false),
        M::Fsub | M::Fsubp | M::Fisub => (subtract, false),
        M::Fsubr | M::Fsubrp | M::Fisubr => (subtract, true),
        M::Fdiv | M::Fdivp | M::Fidiv => (Float80::divide, false),
        _ => (Float80::divide, true),
    }
}

/// The rounding that FCW asks for (8.1.5).
pub(super) fn rounding(area: &XsaveArea) -> Rounding {
    let word = area.fcw();
    Rounding {
        bits: match word >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        },
        direction: match word >> 10 & 3 {
            0 => Direction::Nearest,
            1 => Direction::Down,
            2 => Direction::Up,
            _ => Direction::Zero,
        },
    }
}

/// Notes in FSW what a result cost. One that is inexact is left to the caller where that is not masked.
pub(super) fn settle<T, E>(area: &mut XsaveArea, result: Rounded<T>) -> Result<T, Stop<E>> {
    if result.inexact && area.fcw() & PRECISION_MASK == 0 {
        return Err(Stop::Unsupported);
    }
    set_flags(area, C1, if result.up { C1 } else { 0 });
    if result.inexact {
        area.set_fsw(area.fsw() | PRECISION);
    }
    Ok(result.value)
}

pub(super) fn set_flags(area: &mut XsaveArea, all: u16, set: u16) {
    area.set_fsw(area.fsw() & !all | set);
}

pub(super) fn push<E>(area: &mut XsaveArea, bytes: [u8; 10]) -> Result<(), Stop<E>> {
    defined(area.push(bytes))?;
    set_flags(area, C1, 0);
    Ok(())
}

/// A value that is absent, or not a number of ours, is not completed.
pub(super) fn defined<T, E>(value: Option<T>) -> Result<T, Stop<E>> {
    value.ok_or(Stop::Unsupported)
}

/// ST(0) to ST(7).
pub(super) fn register_number(register: Register) -> usize {
    (register as usize).saturating_sub(Register::ST0 as usize) & 7
}
