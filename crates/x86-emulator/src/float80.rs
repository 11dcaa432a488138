//! Numbers of the x87: a sign, 15 bits of exponent, 64 bits of significand (Intel SDM vol. 1, 4.2.2),
//! arithmetic on those that are zero or normal, rounded as the control word asks (4.8.4, 8.1.5), and functions of
//! them.

mod arithmetic;
mod convert;
mod functions;
mod remainder;
mod wide;

use std::cmp::Ordering;

pub(crate) use convert::Narrow;

/// Exponents are kept with this added.
const BIAS: i32 = 16383;
/// The largest exponent of a number that is finite, biased.
const MAX_EXPONENT: i32 = 0x7ffe;
const INTEGER_BIT: u64 = 1 << 63;

/// Zero, or a normal number: `significand` has its top bit set then, and the value is
/// significand * 2^(exponent - 63).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Float80 {
    negative: bool,
    exponent: i32,
    significand: u64,
}

/// How a result is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Nearest,
    Down,
    Up,
    Zero,
}

/// Where a result is rounded: after so many bits, in that direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounding {
    pub(crate) bits: u32,
    pub(crate) direction: Direction,
}

/// A result, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounded<T> {
    pub(crate) value: T,
    /// It is not the exact result (PE).
    pub(crate) inexact: bool,
    /// It is away from zero of the exact one (C1).
    pub(crate) up: bool,
}

impl Float80 {
    pub(crate) const ZERO: Self = Self {
        negative: false,
        exponent: 0,
        significand: 0,
    };
    #[cfg(test)]
    pub(crate) const ONE: Self = Self {
        negative: false,
        exponent: 0,
        significand: INTEGER_BIT,
    };

    /// `None` where it is not a number of ours: an infinity, a NaN, a denormal, an unsupported encoding.
    pub(crate) fn from_bytes(bytes: [u8; 10]) -> Option<Self> {
        let [significand @ .., low, high] = bytes;
        let word = u16::from_le_bytes([low, high]);
        let (biased, significand) = (i32::from(word & 0x7fff), u64::from_le_bytes(significand));
        let negative = word >> 15 != 0;
        match (biased, significand) {
            (0, 0) => Some(Self {
                negative,
                ..Self::ZERO
            }),
            (1..=MAX_EXPONENT, INTEGER_BIT..) => Some(Self {
                negative,
                exponent: biased - BIAS,
                significand,
            }),
            _ => None,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 10] {
        let biased = if self.is_zero() {
            0
        } else {
            self.exponent + BIAS
        };
        let [low, high] = (biased as u16 | u16::from(self.negative) << 15).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = self.significand.to_le_bytes();
        [a, b, c, d, e, f, g, h, low, high]
    }

    pub(crate) fn negated(self) -> Self {
        Self {
            negative: !self.negative,
            ..self
        }
    }

    pub(crate) fn magnitude(self) -> Self {
        Self {
            negative: false,
            ..self
        }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.negative
    }

    pub(crate) fn is_zero(self) -> bool {
        self.significand == 0
    }

    pub(crate) fn rounded(self, rounding: Rounding) -> Option<Rounded<Self>> {
        if self.is_zero() {
            return exact(self.negative);
        }
        let wide = u128::from(self.significand) << 64;
        round(self.negative, self.exponent, wide, rounding)
    }

    /// Orders magnitudes.
    fn key(self) -> (bool, i32, u64) {
        (!self.is_zero(), self.exponent, self.significand)
    }
}

fn exact(negative: bool) -> Option<Rounded<Float80>> {
    Some(Rounded {
        value: Float80 {
            negative,
            ..Float80::ZERO
        },
        inexact: false,
        up: false,
    })
}

/// `significand` * 2^(exponent - 127), which is not zero, rounded; `None` where the exponent is out of range.
fn round(
    negative: bool,
    exponent: i32,
    significand: u128,
    rounding: Rounding,
) -> Option<Rounded<Float80>> {
    let shift = significand.leading_zeros();
    let normal = significand << shift;
    let mut exponent = exponent - shift as i32;
    let kept = normal >> (128 - rounding.bits);
    let rest = normal << rounding.bits;
    let up = rounds_up(
        negative,
        kept & 1 != 0,
        rest.cmp(&(1 << 127)),
        rest != 0,
        rounding.direction,
    );
    let mut value = kept + u128::from(up);
    if value >> rounding.bits != 0 {
        value >>= 1;
        exponent += 1;
    }
    let in_range = exponent + BIAS > 0 && exponent + BIAS <= MAX_EXPONENT;
    in_range.then(|| Rounded {
        value: Float80 {
            negative,
            exponent,
            significand: (value << (64 - rounding.bits)) as u64,
        },
        inexact: rest != 0,
        up,
    })
}

fn rounds_up(
    negative: bool,
    odd: bool,
    to_half: Ordering,
    inexact: bool,
    direction: Direction,
) -> bool {
    match direction {
        Direction::Nearest => to_half == Ordering::Greater || to_half == Ordering::Equal && odd,
        Direction::Down => inexact && negative,
        Direction::Up => inexact && !negative,
        Direction::Zero => false,
    }
}

/// Shifted right; the last bit tells of all that went.
fn shift_right(value: u128, count: u32) -> u128 {
    let shifted = value.checked_shr(count).unwrap_or(0);
    let back = shifted.checked_shl(count).unwrap_or(0);
    shifted | u128::from(back != value)
}

#[cfg(test)]
mod tests;
