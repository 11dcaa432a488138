//! Logarithms, powers of two and the trigonometric functions (Intel SDM vol. 1, 8.3.7 to 8.3.10), by their power
//! series in 128 bits: a result is the exact one's rounding, or beside it where that lies within 2^-50 of a
//! border between two. (The manual promises less than one unit in the last place.)

use super::wide::Wide;
use super::{Direction, Float80, INTEGER_BIT, Rounded, Rounding, exact};

/// Precision control does not bear on these (8.1.5.2).
fn whole_precision(direction: Direction) -> Rounding {
    Rounding {
        bits: 64,
        direction,
    }
}

/// Half of the CPU's pi, which has 66 bits, times 2^65 (8.3.8).
const HALF_PI_OF_66_BITS: u128 = 0x3_243f_6a88_85a3_08d3;

impl Float80 {
    const ONE_HALF: Self = Self {
        negative: false,
        exponent: -1,
        significand: INTEGER_BIT,
    };

    /// F2XM1: 2^self - 1; `None` beyond -1 to 1, where the manual promises nothing.
    pub(crate) fn power_of_2_minus_1(self, direction: Direction) -> Option<Rounded<Self>> {
        if self.is_zero() {
            return exact(self.negative);
        }
        if self.exponent >= 0 {
            let is_one = (self.exponent, self.significand) == (0, INTEGER_BIT);
            let result = if self.negative {
                Self::ONE_HALF.negated()
            } else {
                self
            };
            return is_one
                .then(|| result.rounded(whole_precision(direction)))
                .flatten();
        }
        let power = Wide::from(self).times(Wide::LN_2);
        let mut term = power;
        let sum = sum(term, |number| {
            term = term.times(power).over(Wide::whole(number + 1));
            term
        });
        sum.rounded(whole_precision(direction))
    }

    /// FYL2X: factor * log2(self); `None` also of numbers that have no logarithm.
    pub(crate) fn log2_times(self, factor: Self, direction: Direction) -> Option<Rounded<Self>> {
        (!self.negative && !self.is_zero()).then_some(())?;
        let rounding = whole_precision(direction);
        if self.significand == INTEGER_BIT || factor.is_zero() {
            let logarithm = match Self::from_integer(self.exponent.into()) {
                // Of a number between 1 and 2: not zero.
                zero if zero.is_zero() && self.significand != INTEGER_BIT => Self::ONE_HALF,
                other => other,
            };
            return logarithm.multiply(factor, rounding);
        }
        // Between sqrt(1/2) and sqrt(2), or near to that.
        let mut exponent = self.exponent;
        let mut fraction = Wide::from(self);
        fraction.exponent = 0;
        if self.significand >= 0xb504_f333_f9de_6484 {
            fraction.exponent = -1;
            exponent += 1;
        }
        let quotient = fraction.minus(Wide::ONE).over(fraction.plus(Wide::ONE));
        let logarithm = twice_area_tangent(quotient)
            .over(Wide::LN_2)
            .plus(Wide::whole(exponent));
        logarithm.times(factor.into()).rounded(rounding)
    }

    /// FYL2XP1: factor * log2(self + 1); `None` beyond -1/2 to 1/2. (The manual promises something from
    /// sqrt(1/2) - 1 to 1 - sqrt(1/2) alone.)
    pub(crate) fn log2_of_1_more_times(
        self,
        factor: Self,
        direction: Direction,
    ) -> Option<Rounded<Self>> {
        if self.is_zero() || factor.is_zero() {
            return exact(self.negative != factor.negative);
        }
        (self.exponent < -1).then_some(())?;
        let number = Wide::from(self);
        let quotient = number.over(number.plus(Wide::whole(2)));
        let logarithm = twice_area_tangent(quotient).over(Wide::LN_2);
        let product = logarithm.times(factor.into());
        product.rounded(whole_precision(direction))
    }

    /// FPATAN: the angle of the point whose ordinate is `self`, from -pi to pi.
    pub(crate) fn angle(self, abscissa: Self, direction: Direction) -> Option<Rounded<Self>> {
        let (y, x) = (self.magnitude(), abscissa.magnitude());
        if y.is_zero() && !abscissa.negative {
            return exact(self.negative);
        }
        let acute = if y.key() <= x.key() {
            arc_tangent(y.into(), x.into())
        } else {
            Wide::HALF_PI.minus(arc_tangent(x.into(), y.into()))
        };
        let angle = if abscissa.negative {
            Wide::PI.minus(acute)
        } else {
            acute
        };
        let angle = angle.with_sign(self.negative);
        angle.rounded(whole_precision(direction))
    }

    /// FSIN; `None` of numbers that must be reduced first, 2^63 and more: see
    /// [`is_reducible`](Self::is_reducible).
    pub(crate) fn sine(self, direction: Direction) -> Option<Rounded<Self>> {
        if self.is_zero() {
            return exact(self.negative);
        }
        let (sine, _) = self.sine_and_cosine()?;
        sine.rounded(whole_precision(direction))
    }

    /// FCOS.
    pub(crate) fn cosine(self, direction: Direction) -> Option<Rounded<Self>> {
        let rounding = whole_precision(direction);
        if self.is_zero() {
            return Self::from_integer(1).rounded(rounding);
        }
        let (_, cosine) = self.sine_and_cosine()?;
        cosine.rounded(rounding)
    }

    /// FPTAN.
    pub(crate) fn tangent(self, direction: Direction) -> Option<Rounded<Self>> {
        if self.is_zero() {
            return exact(self.negative);
        }
        let (sine, cosine) = self.sine_and_cosine()?;
        sine.over(cosine).rounded(whole_precision(direction))
    }

    /// Whether FSIN and its likes take it as it is.
    pub(crate) fn is_reducible(self) -> bool {
        self.exponent < 63
    }

    fn sine_and_cosine(self) -> Option<(Wide, Wide)> {
        self.is_reducible().then_some(())?;
        let (quadrant, angle) = self.magnitude().reduced();
        let square = angle.times(angle).negated();
        let series = |first: Wide, start: i32| {
            let mut term = first;
            sum(first, |number| {
                let last = start + 2 * number;
                term = term.times(square).over(Wide::whole(last * (last - 1)));
                term
            })
        };
        let (sine, cosine) = (series(angle, 1), series(Wide::ONE, 0));
        let (sine, cosine) = match quadrant {
            0 => (sine, cosine),
            1 => (cosine, sine.negated()),
            2 => (sine.negated(), cosine.negated()),
            _ => (cosine.negated(), sine),
        };
        Some((sine.with_sign(sine.negative != self.negative), cosine))
    }

    /// The quadrant, and the angle from its middle axis, at most pi/4 away.
    fn reduced(self) -> (u128, Wide) {
        if self.exponent < -1 {
            return (0, self.into());
        }
        // In units of 2^-65, exactly.
        let angle = u128::from(self.significand) << (self.exponent + 2);
        let (quadrant, rest) = (angle / HALF_PI_OF_66_BITS, angle % HALF_PI_OF_66_BITS);
        if rest > HALF_PI_OF_66_BITS / 2 {
            let short = Wide::new(true, 127 - 65, HALF_PI_OF_66_BITS - rest);
            return ((quadrant + 1) & 3, short);
        }
        (quadrant & 3, Wide::new(false, 127 - 65, rest))
    }
}

/// arctan(y / x) for y at most x.
fn arc_tangent(y: Wide, x: Wide) -> Wide {
    if y.is_zero() {
        return y;
    }
    let quotient = y.over(x);
    // From half on, from the other side of pi/4.
    if quotient.exponent < -1 {
        return odd_powers(quotient, true);
    }
    Wide::QUARTER_PI.minus(odd_powers(x.minus(y).over(x.plus(y)), true))
}

/// ln((1 + quotient) / (1 - quotient)).
fn twice_area_tangent(quotient: Wide) -> Wide {
    let mut half = odd_powers(quotient, false);
    half.exponent += 1;
    half
}

/// The sum of x^n / n over odd n, with alternating signs or not.
fn odd_powers(x: Wide, alternating: bool) -> Wide {
    let square = x.times(x).with_sign(alternating);
    let mut power = x;
    sum(x, |number| {
        power = power.times(square);
        power.over(Wide::whole(2 * number + 1))
    })
}

/// The sum of a series from its first term on, and of term `number`, from 1 on, until they no longer matter.
fn sum(first: Wide, mut term: impl FnMut(i32) -> Wide) -> Wide {
    let mut sum = first;
    // Each term is at most half of the one before.
    for number in 1..140 {
        let next = term(number);
        if next.is_zero() {
            break;
        }
        sum = sum.plus(next);
        if next.exponent < sum.exponent - 130 {
            break;
        }
    }
    sum
}
