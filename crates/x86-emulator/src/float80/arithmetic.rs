//! Sums, products, quotients and comparisons.

use std::cmp::Ordering;

use super::{Direction, Float80, Rounded, Rounding, exact, round, shift_right};

impl Float80 {
    pub(crate) fn add(self, other: Self, rounding: Rounding) -> Option<Rounded<Self>> {
        let (large, small) = if self.key() >= other.key() {
            (self, other)
        } else {
            (other, self)
        };
        if small.is_zero() {
            if !large.is_zero() {
                return large.rounded(rounding);
            }
            let down = rounding.direction == Direction::Down;
            let negative = match (large.negative, small.negative) {
                (true, true) => true,
                (false, false) => false,
                _ => down,
            };
            return exact(negative);
        }
        // Room for a carry above, and for 62 bits below.
        let wide = u128::from(large.significand) << 62;
        let distance = (large.exponent - small.exponent) as u32;
        let aligned = shift_right(u128::from(small.significand) << 62, distance);
        let sum = if large.negative == small.negative {
            wide + aligned
        } else {
            wide - aligned
        };
        if sum == 0 {
            return exact(rounding.direction == Direction::Down);
        }
        round(large.negative, large.exponent + 2, sum, rounding)
    }

    pub(crate) fn multiply(self, other: Self, rounding: Rounding) -> Option<Rounded<Self>> {
        let negative = self.negative != other.negative;
        if self.is_zero() || other.is_zero() {
            return exact(negative);
        }
        let product = u128::from(self.significand) * u128::from(other.significand);
        round(
            negative,
            self.exponent + other.exponent + 1,
            product,
            rounding,
        )
    }

    /// `None` also for a division by zero.
    pub(crate) fn divide(self, other: Self, rounding: Rounding) -> Option<Rounded<Self>> {
        let negative = self.negative != other.negative;
        let divisor = u128::from(other.significand);
        let dividend = u128::from(self.significand) << 64;
        let quotient = dividend.checked_div(divisor)?;
        if self.is_zero() {
            return exact(negative);
        }
        // Two bits more, and whether there are others.
        let rest = (dividend % divisor) << 2;
        let more = rest / divisor;
        let sticky = u128::from(rest % divisor != 0);
        let all = quotient << 3 | more << 1 | sticky;
        // Bit 67 of it is worth 1.
        round(
            negative,
            self.exponent - other.exponent + 127 - 67,
            all,
            rounding,
        )
    }

    /// `None` also of a negative number, but for zero.
    pub(crate) fn square_root(self, rounding: Rounding) -> Option<Rounded<Self>> {
        if self.is_zero() {
            return exact(self.negative);
        }
        (!self.negative).then_some(())?;
        // 66 bits, two of them before the point: at least 1 and less than 4.
        let odd = self.exponent.rem_euclid(2);
        let square = u128::from(self.significand) << (1 + odd);
        let (mut root, mut rest) = (0_u128, 0_u128);
        for digit in 0..66 {
            let pair = if digit < 33 {
                square >> (64 - 2 * digit) & 3
            } else {
                0
            };
            rest = rest << 2 | pair;
            let trial = root << 2 | 1;
            root <<= 1;
            if rest >= trial {
                rest -= trial;
                root |= 1;
            }
        }
        let all = root << 1 | u128::from(rest != 0);
        // Bit 66 of it is worth 1.
        let exponent = self.exponent.div_euclid(2);
        round(false, exponent + 127 - 66, all, rounding)
    }

    /// To an integer of the same format.
    pub(crate) fn to_whole(self, direction: Direction) -> Option<Rounded<Self>> {
        if self.is_zero() || self.exponent >= 63 {
            return self.rounded(Rounding {
                bits: 64,
                direction,
            });
        }
        let integer = self.to_integer(64, direction)?;
        let value = Self {
            negative: self.negative,
            ..Self::from_integer(integer.value)
        };
        Some(Rounded {
            value,
            inexact: integer.inexact,
            up: integer.up,
        })
    }

    pub(crate) fn compare(self, other: Self) -> Ordering {
        let signed = |float: Self| match float.negative && !float.is_zero() {
            true => (-1, Ordering::Less),
            false => (i32::from(!float.is_zero()), Ordering::Greater),
        };
        let (mine, theirs) = (signed(self).0, signed(other).0);
        mine.cmp(&theirs).then_with(|| {
            let larger = self.key().cmp(&other.key());
            if mine < 0 { larger.reverse() } else { larger }
        })
    }
}
