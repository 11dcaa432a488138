//! The x87's functions. The CPU's results of those that are not algebraic are right to one unit in the last place
//! (Intel SDM vol. 1, 8.3.10), as the emulator's are: both may be beside the exact one.

use super::*;

/// The flags in which the CPU must agree: exceptions but for "inexact", TOP, and C2.
const COMPARED: u16 = 0x1f | 7 << 11 | 1 << 10;

/// The 10 bytes of a number with this sign and exponent, and 64 bits of significand.
fn number(random: &mut Random, exponents: std::ops::Range<i32>) -> [u8; 10] {
    let spread = exponents.end - exponents.start;
    let exponent = exponents.start + (random.next() % spread as u64) as i32;
    let sign = (random.next() as u16 & 1) << 15;
    let word = (exponent + 16383) as u16 | sign;
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&(random.next() | 1 << 63).to_le_bytes());
    bytes[8..].copy_from_slice(&word.to_le_bytes());
    bytes
}

/// Numbers in a row without a gap, in the order of their magnitudes.
fn place(register: &[u8]) -> i128 {
    let significand = u64::from_le_bytes(register[..8].try_into().unwrap());
    let word = u16::from_le_bytes(register[8..10].try_into().unwrap());
    let magnitude = i128::from(word & 0x7fff) << 63 | i128::from(significand & !(1 << 63));
    if word >> 15 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// Runs `code` on ST(0) and ST(1), with `tags` for which registers are not empty, here and there. Results may
/// differ by `units` in the last place; with 0 the flags are the same too.
fn compare(pair: &mut Pair, code: &[u8], tags: u8, top: [u8; 10], next: [u8; 10], units: i128) {
    pair.shuffle(true);
    let image = &mut pair.frame.before.0;
    image[512] |= 1;
    // The precision of the control word is for sums, products, quotients and roots alone. TOP is 0.
    image[3] = 0;
    image[4] = tags;
    image[32..42].copy_from_slice(&top);
    image[48..58].copy_from_slice(&next);
    if units == 0 {
        return pair.compare(code);
    }
    pair.settle();
    pair.guest.state.registers = registers(&pair.frame);
    let outcome = pair.guest.run(code);
    let what = format!("{code:02x?} of {top:02x?} and {next:02x?}");
    assert!(
        matches!(outcome, Ok(Completion::Done(_))),
        "{what}: {outcome:?}"
    );
    pair.arena.run(code, &mut pair.frame);
    let (ours, cpu) = (pair.guest.extended.area.bytes(), &pair.frame.after.0);
    let status = |area: &[u8]| u16::from_le_bytes([area[2], area[3]]) & COMPARED;
    assert_eq!((status(ours), ours[4]), (status(cpu), cpu[4]), "{what}");
    for at in (32..160).step_by(16) {
        let (ours, cpu) = (&ours[at..at + 10], &cpu[at..at + 10]);
        let distance = (place(ours) - place(cpu)).abs();
        assert!(distance <= units, "{what}: {ours:02x?}, not {cpu:02x?}");
    }
}

/// ST(0) and ST(1) alone are not empty.
const TWO: u8 = 3;

#[test]
fn x87_remainders() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(50);
    // FPREM, FPREM1, where one round is enough
    for code in [[0xd9, 0xf8], [0xd9, 0xf5]] {
        for distance in [-2, -1, 0, 1, 7, 40, 63] {
            for _ in 0..ROUNDS {
                let top = number(&mut pair.random, distance..distance + 1);
                let next = number(&mut pair.random, 0..1);
                compare(&mut pair, &code, TWO, top, next, 0);
            }
        }
    }
}

#[test]
fn x87_scales_and_exponents() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(51);
    for _ in 0..ROUNDS {
        let top = number(&mut pair.random, -8000..8000);
        let next = number(&mut pair.random, -2..12);
        compare(&mut pair, &[0xd9, 0xfd], TWO, top, next, 0); // FSCALE
        compare(&mut pair, &[0xd9, 0xf4], TWO, top, next, 0); // FXTRACT
    }
}

#[test]
fn x87_decimal_numbers() {
    if !has_xsave() {
        return;
    }
    fn digits(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
        for byte in &mut operand[..9] {
            let digits = random.next() % 100;
            *byte = (digits / 10 * 16 + digits % 10) as u8;
        }
    }
    let mut pair = Pair::new(52);
    // FBLD pushes: all registers are to be empty.
    for round in 0..ROUNDS {
        pair.shuffle(true);
        let at = pair.arena.data() + 16 * round as u64;
        let Frame { gpr, before, .. } = &mut *pair.frame;
        gpr[7] = at;
        before.0[512] |= 1;
        before.0[3] &= !2;
        before.0[4] = 0;
        let offset = 16 * round;
        digits(
            &mut pair.random,
            &mut pair.arena.data_bytes()[offset..],
            &mut pair.frame,
        );
        pair.compare(&[0xdf, 0x27]); // FBLD [RDI]
    }
    for _ in 0..ROUNDS {
        let top = number(&mut pair.random, -3..59);
        let next = number(&mut pair.random, 0..1);
        compare_store(&mut pair, top, next);
    }
}

/// FBSTP [RDI].
fn compare_store(pair: &mut Pair, top: [u8; 10], next: [u8; 10]) {
    pair.shuffle(true);
    pair.frame.gpr[7] = pair.arena.data() + 8;
    let image = &mut pair.frame.before.0;
    image[512] |= 1;
    image[3] &= 0xc5;
    image[4] = TWO;
    image[32..42].copy_from_slice(&top);
    image[48..58].copy_from_slice(&next);
    pair.compare(&[0xdf, 0x37]);
}

#[test]
fn x87_logarithms_and_powers() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(53);
    for _ in 0..ROUNDS * 4 {
        // F2XM1
        let top = number(&mut pair.random, -70..0);
        let next = number(&mut pair.random, -9..9);
        compare(&mut pair, &[0xd9, 0xf0], TWO, top, next, 1);
        // FYL2X
        let exponents = if pair.random.next() & 1 == 0 {
            -1..1
        } else {
            -900..900
        };
        let mut top = number(&mut pair.random, exponents);
        top[9] &= 0x7f;
        compare(&mut pair, &[0xd9, 0xf1], TWO, top, next, 1);
        // FYL2XP1
        let top = number(&mut pair.random, -70..-2);
        compare(&mut pair, &[0xd9, 0xf9], TWO, top, next, 1);
    }
}

#[test]
fn x87_angles_and_their_functions() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(54);
    for _ in 0..ROUNDS * 4 {
        // FPATAN
        let (top, next) = (
            number(&mut pair.random, -40..40),
            number(&mut pair.random, -40..40),
        );
        compare(&mut pair, &[0xd9, 0xf3], TWO, top, next, 1);
        // FPTAN, FSINCOS, FSIN, FCOS: nothing is left to pi, which not all CPUs have alike.
        for code in [[0xd9, 0xf2], [0xd9, 0xfb], [0xd9, 0xfe], [0xd9, 0xff]] {
            let top = number(&mut pair.random, -70..-1);
            compare(&mut pair, &code, TWO, top, next, 1);
            let far = number(&mut pair.random, 63..70);
            compare(&mut pair, &code, TWO, far, next, 1);
        }
    }
}
