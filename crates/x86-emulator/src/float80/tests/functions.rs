//! Functions, against this machine's of 53 bits.

use super::*;

/// The difference of two numbers, in units of the second one's last place of 53 bits.
fn units(got: Option<Rounded<Float80>>, expected: f64) -> f64 {
    let got = narrow(got.unwrap().value);
    ((got - expected) / expected).abs() * 2_f64.powi(52)
}

#[test]
fn remainders_over_any_distance_end_in_that_of_the_cpu() {
    for (a, b) in pairs().take(4000) {
        for nearest in [false, true] {
            let mut left = wide(a);
            let mut rounds = 0;
            let quotient = loop {
                let remainder = left.remainder(wide(b), nearest).unwrap();
                left = remainder.value;
                if let Some(quotient) = remainder.quotient {
                    break quotient;
                }
                rounds += 1;
                assert!(rounds < 20, "{a} {b}");
            };
            let cut_off = a % b;
            let expected = if nearest && 2.0 * cut_off.abs() > b.abs() {
                cut_off - b.copysign(cut_off)
            } else {
                cut_off
            };
            // A quotient that is half of an odd number more does not come from these pairs.
            assert_eq!(narrow(left), expected, "{a} {b}");
            let low = (a / b).abs().min(2_f64.powi(52)) as u64;
            if (a / b).abs() < 2_f64.powi(50) {
                assert!(quotient.abs_diff(low) <= 1, "{a} {b}");
            }
        }
    }
}

#[test]
fn angles_in_every_quadrant_are_reduced() {
    for (index, (a, b)) in pairs().take(400).enumerate() {
        // Not so far that the CPU's pi of 66 bits would be seen.
        let angle = if index % 2 == 0 { a } else { -a } % 500.0;
        let number = wide(angle);
        // Near to a root the quotient of the two is of no use.
        if angle.sin().abs() > 0.01 && angle.cos().abs() > 0.01 {
            let nearest = Direction::Nearest;
            assert!(units(number.sine(nearest), angle.sin()) < 2.0, "{angle}");
            assert!(units(number.cosine(nearest), angle.cos()) < 2.0, "{angle}");
            assert!(units(number.tangent(nearest), angle.tan()) < 4.0, "{angle}");
        }
        for (y, x) in [(a, b), (-a, b), (a, -b), (-a, -b)] {
            let got = wide(y).angle(wide(x), Direction::Nearest);
            let Some(_) = got else { continue };
            assert!(units(got, y.atan2(x)) < 2.0, "{y} {x}");
        }
    }
    let pi = wide(0.0).angle(wide(-1.0), Direction::Nearest);
    assert_eq!(pi.unwrap().value.significand, 0xc90f_daa2_2168_c235);
    for x in [0.0, -0.0] {
        let half = wide(1.0).angle(wide(x), Direction::Zero).unwrap().value;
        assert_eq!(
            (half.exponent, half.significand),
            (0, 0xc90f_daa2_2168_c234)
        );
    }
    let zero = wide(-0.0).angle(wide(2.0), Direction::Nearest).unwrap();
    assert_eq!((zero.value, zero.inexact), (wide(-0.0), false));
    let pi = wide(-0.0).angle(wide(-0.0), Direction::Nearest).unwrap();
    assert!(pi.inexact && pi.value.negative);
}

#[test]
fn logarithms_and_powers_of_2_are_exact_where_they_can_be() {
    let nearest = Direction::Nearest;
    for (a, b) in pairs().take(400) {
        let got = wide(a.abs()).log2_times(wide(b), nearest);
        if (a.abs() - 1.0).abs() > 0.1 {
            assert!(units(got, a.abs().log2() * b) < 3.0, "{a} {b}");
        }
        let power = a % 1.0;
        let got = wide(power).power_of_2_minus_1(nearest);
        let expected = (power * std::f64::consts::LN_2).exp_m1();
        assert!(power == 0.0 || units(got, expected) < 3.0, "{power}");
        let power = power / 4.0;
        let got = wide(power).log2_of_1_more_times(wide(b), nearest);
        let expected = power.ln_1p() * std::f64::consts::LOG2_E * b;
        assert!(power == 0.0 || units(got, expected) < 4.0, "{power} {b}");
    }
    for direction in DIRECTIONS {
        let exact = |got: Option<Rounded<Float80>>, expected: f64| {
            let got = got.unwrap();
            assert_eq!((narrow(got.value), got.inexact), (expected, false));
        };
        exact(wide(8.0).log2_times(wide(-0.5), direction), -1.5);
        exact(wide(1.0).log2_times(wide(-5.0), direction), -0.0);
        exact(wide(0.75).log2_times(wide(0.0), direction), -0.0);
        exact(wide(1.0).power_of_2_minus_1(direction), 1.0);
        exact(wide(-1.0).power_of_2_minus_1(direction), -0.5);
        exact(wide(-0.0).power_of_2_minus_1(direction), -0.0);
    }
}

#[test]
fn what_has_no_number_for_result_is_none() {
    let nearest = Direction::Nearest;
    assert_eq!(wide(-1.0).log2_times(wide(1.0), nearest), None);
    assert_eq!(wide(0.0).log2_times(wide(1.0), nearest), None);
    assert_eq!(wide(0.75).log2_of_1_more_times(wide(1.0), nearest), None);
    assert_eq!(wide(1.5).power_of_2_minus_1(nearest), None);
    assert_eq!(wide(2_f64.powi(63)).sine(nearest), None);
    assert_eq!(wide(1.0).remainder(wide(0.0), false), None);
    assert_eq!(wide(0.0).taken_apart(), None);
    assert_eq!(wide(1.0).scaled(wide(16384.0)), None);
    assert_eq!(wide(1.0).scaled(wide(1e300)), None);
    // A quotient of the smallest numbers is out of range.
    let small = Float80 {
        exponent: -16382,
        ..Float80::ONE
    };
    assert_eq!(small.angle(wide(3.0), nearest), None);
}
