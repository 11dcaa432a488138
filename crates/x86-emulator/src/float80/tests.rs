//! Against the arithmetic of this machine, in 53 and 24 bits.

mod functions;

use super::*;

const DIRECTIONS: [Direction; 4] = [
    Direction::Nearest,
    Direction::Down,
    Direction::Up,
    Direction::Zero,
];

fn nearest(bits: u32) -> Rounding {
    Rounding {
        bits,
        direction: Direction::Nearest,
    }
}

fn wide(value: f64) -> Float80 {
    Float80::from_narrow(value.to_bits(), Narrow::DOUBLE).unwrap()
}

fn narrow(value: Float80) -> f64 {
    f64::from_bits(
        value
            .to_narrow(Narrow::DOUBLE, Direction::Nearest)
            .unwrap()
            .value,
    )
}

/// Pairs of numbers of all sizes, some close to one another (xorshift).
fn pairs() -> impl Iterator<Item = (f64, f64)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..20_000).map(move |round| {
        let mut number = |spread: u64| {
            let word = next();
            let exponent = 1023 - spread / 2 + next() % spread;
            f64::from_bits(word & !(0x7ff << 52) | exponent << 52)
        };
        let spread = [2, 8, 64, 400][round % 4];
        (number(spread), number(spread))
    })
}

#[test]
fn sums_products_and_quotients_of_53_bits_are_those_of_the_cpu() {
    for (a, b) in pairs() {
        let rounding = nearest(53);
        let (x, y) = (wide(a), wide(b));
        let same = |name, got: Option<Rounded<Float80>>, expected: f64| {
            let got = narrow(got.unwrap().value);
            assert_eq!(got.to_bits(), expected.to_bits(), "{a} {name} {b}");
        };
        same("+", x.add(y, rounding), a + b);
        same("-", x.add(y.negated(), rounding), a - b);
        same("*", x.multiply(y, rounding), a * b);
        same("/", x.divide(y, rounding), a / b);
        assert_eq!(Some(x.compare(y)), a.partial_cmp(&b));
    }
}

#[test]
fn a_number_minus_itself_is_zero_and_its_sign_is_that_of_the_rounding() {
    let x = wide(1.5);
    for direction in DIRECTIONS {
        let zero = x
            .add(
                x.negated(),
                Rounding {
                    bits: 64,
                    direction,
                },
            )
            .unwrap();
        assert!(zero.value.is_zero() && !zero.inexact);
        assert_eq!(zero.value.negative, direction == Direction::Down);
    }
}

#[test]
fn single_precision_is_that_of_the_cpu() {
    for (a, _) in pairs() {
        let rounded = wide(a).to_narrow(Narrow::SINGLE, Direction::Nearest);
        let expected = a as f32;
        if expected.is_normal() {
            assert_eq!(rounded.unwrap().value, u64::from(expected.to_bits()));
            let back = Float80::from_narrow(expected.to_bits().into(), Narrow::SINGLE);
            assert_eq!(narrow(back.unwrap()), f64::from(expected));
        }
    }
}

#[test]
fn integers_are_rounded_in_each_direction() {
    type Round = fn(f64) -> f64;
    let all: [(Direction, Round); 4] = [
        (Direction::Nearest, f64::round_ties_even),
        (Direction::Down, f64::floor),
        (Direction::Up, f64::ceil),
        (Direction::Zero, f64::trunc),
    ];
    let special = [
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        0.0,
        1e-30,
        4e18,
        -(2_f64.powi(63)),
    ];
    let numbers = pairs()
        .map(|(a, _)| a)
        .filter(|a| a.abs() < 1e18)
        .chain(special);
    for number in numbers {
        for (direction, rounded) in all {
            let integer = wide(number).to_integer(64, direction).unwrap();
            assert_eq!(
                integer.value,
                rounded(number) as i64,
                "{number} {direction:?}"
            );
            assert_eq!(integer.inexact, rounded(number) != number);
            let whole = wide(number).to_whole(direction).unwrap();
            assert_eq!(narrow(whole.value).to_bits(), rounded(number).to_bits());
        }
    }
    assert_eq!(wide(9.3e18).to_integer(64, Direction::Zero), None);
    assert_eq!(wide(40000.0).to_integer(16, Direction::Zero), None);
    assert_eq!(
        wide(-32768.0)
            .to_integer(16, Direction::Zero)
            .unwrap()
            .value,
        -32768
    );
}

#[test]
fn products_of_64_bits_are_rounded_to_the_nearest_even_one() {
    let x = Float80::from_integer(i64::MAX);
    let product = x.multiply(x, nearest(64)).unwrap();
    // (2^63 - 1)^2 = 2^126 - 2^64 + 1, of which 64 bits are 2^64 - 4 and a rest below the half.
    assert_eq!(product.value.significand, u64::MAX - 3);
    assert!(product.inexact && !product.up);
    let third = Float80::ONE
        .divide(Float80::from_integer(3), nearest(64))
        .unwrap();
    assert_eq!(third.value.significand, 0xaaaa_aaaa_aaaa_aaab);
    assert_eq!((third.value.exponent, third.up), (-2, true));
    assert_eq!(Float80::ONE.divide(Float80::ZERO, nearest(64)), None);
}

#[test]
fn bytes_are_those_of_the_registers_and_what_is_no_number_is_none() {
    let pi = [0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40];
    assert_eq!(Float80::from_bytes(pi).unwrap().to_bytes(), pi);
    assert_eq!(
        narrow(Float80::from_bytes(pi).unwrap()),
        std::f64::consts::PI
    );
    let word = |sign_and_exponent: u16, significand: u64| {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&significand.to_le_bytes());
        bytes[8..].copy_from_slice(&sign_and_exponent.to_le_bytes());
        bytes
    };
    // Infinity, NaN, denormal, unnormal.
    for (high, low) in [(0x7fff, 1 << 63), (0xffff, 3 << 62), (0, 1), (0x4000, 1)] {
        assert_eq!(Float80::from_bytes(word(high, low)), None);
    }
}
