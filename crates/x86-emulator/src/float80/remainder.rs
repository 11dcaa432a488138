//! Remainders, and what takes numbers apart at their exponents. All of it is exact.

use super::{BIAS, Direction, Float80, MAX_EXPONENT};

/// The result of FPREM and FPREM1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remainder {
    pub(crate) value: Float80,
    /// The quotient's low bits; `None` where more rounds are needed.
    pub(crate) quotient: Option<u64>,
}

impl Float80 {
    /// FPREM, whose quotient is cut off, and FPREM1, whose quotient is the nearest one or else even. `None` of a
    /// division by zero, and where the result is out of range.
    pub(crate) fn remainder(self, divisor: Self, nearest: bool) -> Option<Remainder> {
        (!divisor.is_zero()).then_some(())?;
        let distance = self.exponent - divisor.exponent;
        let whole = |quotient| Remainder {
            value: self,
            quotient: Some(quotient),
        };
        if self.is_zero() || distance < -1 || distance < 0 && !nearest {
            return Some(whole(0));
        }
        let own = u128::from(self.significand);
        let other = u128::from(divisor.significand);
        if distance >= 64 {
            // As much of the quotient as the CPUs of either maker find in one round, from 32 bits to 63.
            let bits = 32 + distance % 32;
            let rest = (own << bits) % other;
            let exponent = divisor.exponent + distance - bits;
            let value = self.with_magnitude(rest, exponent)?;
            return Some(Remainder {
                value,
                quotient: None,
            });
        }
        // In units of the smaller one's last bit.
        let exponent = self.exponent.min(divisor.exponent);
        let own = own << distance.max(0);
        let other = other << (-distance).max(0);
        let (quotient, rest) = (own / other, own % other);
        let up = nearest && (2 * rest > other || 2 * rest == other && quotient & 1 != 0);
        let value = if up {
            let short = self.with_magnitude(other - rest, exponent)?;
            short.negated()
        } else {
            self.with_magnitude(rest, exponent)?
        };
        Some(Remainder {
            value,
            quotient: Some((quotient + u128::from(up)) as u64),
        })
    }

    /// A number of the same sign: magnitude * 2^(exponent - 63), where 64 bits hold it.
    fn with_magnitude(self, magnitude: u128, exponent: i32) -> Option<Self> {
        let significand = u64::try_from(magnitude).ok()?;
        let negative = self.negative;
        if significand == 0 {
            return Some(Self {
                negative,
                ..Self::ZERO
            });
        }
        let shift = significand.leading_zeros();
        Self {
            negative,
            exponent: exponent - shift as i32,
            significand: significand << shift,
        }
        .in_range()
    }

    fn in_range(self) -> Option<Self> {
        let biased = self.exponent.checked_add(BIAS)?;
        (self.is_zero() || (1..=MAX_EXPONENT).contains(&biased)).then_some(self)
    }

    /// FSCALE: self * 2^power, the power cut off to an integer; `None` where the result is out of range.
    pub(crate) fn scaled(self, power: Self) -> Option<Self> {
        if self.is_zero() || power.exponent < 0 {
            return Some(self);
        }
        let power = power.to_integer(32, Direction::Zero)?.value as i32;
        Self {
            exponent: self.exponent.checked_add(power)?,
            ..self
        }
        .in_range()
    }

    /// FXTRACT: the exponent, and the significand with the sign; `None` of zero.
    pub(crate) fn taken_apart(self) -> Option<(Self, Self)> {
        (!self.is_zero()).then_some(())?;
        let exponent = Self::from_integer(self.exponent.into());
        let significand = Self {
            exponent: 0,
            ..self
        };
        Some((exponent, significand))
    }
}
