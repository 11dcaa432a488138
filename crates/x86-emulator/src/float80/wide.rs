//! Numbers of 128 bits, which carry the x87's functions to more bits than their results have.

use super::{Float80, Rounded, Rounding, round, shift_right};

/// Zero, or a number whose `significand` has its top bit set: significand * 2^(exponent - 127). Results are cut
/// off, and the last bit tells of what went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    significand: u128,
}

impl Wide {
    pub(super) const ZERO: Self = Self::constant(0, 0);
    pub(super) const ONE: Self = Self::constant(0, 1 << 127);
    /// The natural logarithm of 2.
    pub(super) const LN_2: Self = Self::constant(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    pub(super) const PI: Self = Self::constant(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    pub(super) const HALF_PI: Self = Self::constant(0, Self::PI.significand);
    pub(super) const QUARTER_PI: Self = Self::constant(-1, Self::PI.significand);

    const fn constant(exponent: i32, significand: u128) -> Self {
        Self {
            negative: false,
            exponent,
            significand,
        }
    }

    /// significand * 2^(exponent - 127), whatever bits `significand` has.
    pub(super) fn new(negative: bool, exponent: i32, significand: u128) -> Self {
        if significand == 0 {
            return Self::ZERO;
        }
        let shift = significand.leading_zeros();
        Self {
            negative,
            exponent: exponent - shift as i32,
            significand: significand << shift,
        }
    }

    pub(super) fn whole(value: i32) -> Self {
        Self::new(value < 0, 127, value.unsigned_abs().into())
    }

    pub(super) fn is_zero(self) -> bool {
        self.significand == 0
    }

    pub(super) fn with_sign(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    pub(super) fn negated(self) -> Self {
        self.with_sign(!self.negative)
    }

    pub(super) fn times(self, other: Self) -> Self {
        let halves = |value: u128| (value >> 64, value & u128::from(u64::MAX));
        let ((a, b), (c, d)) = (halves(self.significand), halves(other.significand));
        let (low, middle, crossed, high) = (b * d, a * d, b * c, a * c);
        let carried = (low >> 64) + halves(middle).1 + halves(crossed).1;
        let high = high + halves(middle).0 + halves(crossed).0 + halves(carried).0;
        let rest = halves(low).1 | halves(carried).1;
        Self::new(
            self.negative != other.negative,
            self.exponent + other.exponent + 1,
            high | u128::from(rest != 0),
        )
    }

    /// A division by zero has no result of use, and does no harm.
    pub(super) fn over(self, other: Self) -> Self {
        let (mut rest, mut carry, mut quotient) = (self.significand, false, 0_u128);
        for _ in 0..128 {
            let fits = carry || rest >= other.significand;
            if fits {
                rest = rest.wrapping_sub(other.significand);
            }
            quotient = quotient << 1 | u128::from(fits);
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        let sticky = u128::from(carry || rest != 0);
        Self::new(
            self.negative != other.negative,
            self.exponent - other.exponent,
            quotient | sticky,
        )
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let (large, small) = match (self.is_zero(), other.is_zero()) {
            (_, true) => return self,
            (true, _) => return other,
            _ if self.key() >= other.key() => (self, other),
            _ => (other, self),
        };
        // Room for a carry.
        let distance = large.exponent.abs_diff(small.exponent);
        let wide = shift_right(large.significand, 1);
        let aligned = shift_right(small.significand, distance.saturating_add(1));
        let sum = if large.negative == small.negative {
            wide + aligned
        } else {
            wide - aligned
        };
        Self::new(large.negative, large.exponent + 1, sum)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// Orders magnitudes that are not zero.
    fn key(self) -> (i32, u128) {
        (self.exponent, self.significand)
    }

    /// To the 64 bits of a result that is not exact; `None` where it is out of range.
    pub(super) fn rounded(self, rounding: Rounding) -> Option<Rounded<Float80>> {
        let significand = self.significand | 1;
        round(self.negative, self.exponent, significand, rounding)
    }
}

impl From<Float80> for Wide {
    fn from(number: Float80) -> Self {
        let significand = u128::from(number.significand) << 64;
        Self::new(number.negative, number.exponent, significand)
    }
}
