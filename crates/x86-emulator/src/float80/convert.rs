//! Numbers of 32 and 64 bits, and integers.

use super::{Direction, Float80, INTEGER_BIT, Rounded, Rounding, rounds_up, shift_right};

impl Float80 {
    /// A number of 32 or 64 bits; `None` where it is neither zero nor normal.
    pub(crate) fn from_narrow(word: u64, format: Narrow) -> Option<Self> {
        let Narrow { exponent, fraction } = format;
        let negative = word >> (exponent + fraction) & 1 != 0;
        let all_ones = (1 << exponent) - 1;
        let biased = word >> fraction & all_ones;
        let low = word & ((1 << fraction) - 1);
        if biased == 0 && low == 0 {
            return Some(Self {
                negative,
                ..Self::ZERO
            });
        }
        (biased != 0 && biased != all_ones).then(|| Self {
            negative,
            exponent: biased as i32 - format.bias(),
            significand: INTEGER_BIT | low << (63 - fraction),
        })
    }

    /// As a number of 32 or 64 bits; `None` where it would be neither zero nor normal.
    pub(crate) fn to_narrow(self, format: Narrow, direction: Direction) -> Option<Rounded<u64>> {
        let Narrow { exponent, fraction } = format;
        let rounded = self.rounded(Rounding {
            bits: fraction + 1,
            direction,
        })?;
        let value = rounded.value;
        let sign = u64::from(value.negative) << (exponent + fraction);
        let mut word = sign;
        if !value.is_zero() {
            let biased = value.exponent + format.bias();
            let normal = biased > 0 && biased < (1 << exponent) - 1;
            normal.then_some(())?;
            let low = (value.significand & !INTEGER_BIT) >> (63 - fraction);
            word |= (biased as u64) << fraction | low;
        }
        Some(Rounded {
            value: word,
            inexact: rounded.inexact,
            up: rounded.up,
        })
    }

    pub(crate) fn from_integer(value: i64) -> Self {
        let magnitude = value.unsigned_abs();
        if magnitude == 0 {
            return Self::ZERO;
        }
        let shift = magnitude.leading_zeros();
        Self {
            negative: value < 0,
            exponent: 63 - shift as i32,
            significand: magnitude << shift,
        }
    }

    /// As a signed integer of `bits`; `None` where it does not fit.
    pub(crate) fn to_integer(self, bits: u32, direction: Direction) -> Option<Rounded<i64>> {
        if self.exponent > 63 {
            return None;
        }
        // 64 bits before the point, and what of the rest matters behind it.
        let wide = u128::from(self.significand) << 64;
        let shift = (63 - self.exponent) as u32;
        let wide = shift_right(wide, shift);
        let (whole, rest) = ((wide >> 64) as u64, wide as u64);
        let up = rounds_up(
            self.negative,
            whole & 1 != 0,
            rest.cmp(&(1 << 63)),
            rest != 0,
            direction,
        );
        let magnitude = i128::from(whole) + i128::from(up);
        let value = if self.negative { -magnitude } else { magnitude };
        let limit = 1_i128 << (bits - 1);
        let value = i64::try_from(value).ok();
        let value = value.filter(|value| (-limit..limit).contains(&i128::from(*value)))?;
        Some(Rounded {
            value,
            inexact: rest != 0,
            up,
        })
    }
}

/// A format of 32 or 64 bits: how many of them are exponent and fraction (4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Narrow {
    exponent: u32,
    fraction: u32,
}

impl Narrow {
    pub(crate) const SINGLE: Self = Self {
        exponent: 8,
        fraction: 23,
    };
    pub(crate) const DOUBLE: Self = Self {
        exponent: 11,
        fraction: 52,
    };

    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }
}
