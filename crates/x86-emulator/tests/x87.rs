//! Arithmetic of the x87, instruction by instruction, against this machine's own arithmetic.
mod guest;

use guest::*;
use vmmkit_x86_emulator::{Completion, Exception, NotCompleted};

/// Runs instructions with RDI at the data; each must be completed.
fn run(guest: &mut Guest, codes: &[&[u8]]) {
    for code in codes {
        let outcome = guest.run(code);
        assert!(
            matches!(outcome, Ok(Completion::Done(_))),
            "{code:x?}: {outcome:?}"
        );
    }
}

fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rdi = DATA;
    guest
}

/// A guest that rounds to 53 bits, with two doubles at the data.
fn with(a: f64, b: f64) -> Guest {
    let mut guest = guest();
    guest.extended.area.bytes_mut()[..2].copy_from_slice(&0x27f_u16.to_le_bytes());
    guest.extended.area.set_xstate_bv(1);
    guest.write(DATA_PHYSICAL, a.to_bits());
    guest.write(DATA_PHYSICAL + 8, b.to_bits());
    guest
}

fn double(guest: &Guest) -> f64 {
    f64::from_bits(guest.read(DATA_PHYSICAL + 16))
}

fn top(guest: &Guest) -> u16 {
    guest.extended.area.fsw() >> 11 & 7
}

const FLD_A: &[u8] = &[0xdd, 0x07]; // fld qword [rdi]
const FLD_B: &[u8] = &[0xdd, 0x47, 8];
const FSTP: &[u8] = &[0xdd, 0x5f, 16];
const FLD1: &[u8] = &[0xd9, 0xe8];
const FLDZ: &[u8] = &[0xd9, 0xee];

#[test]
fn constants_are_pushed_and_popped() {
    let mut guest = guest();
    run(&mut guest, &[FLDZ, FLD1]);
    assert_eq!((top(&guest), guest.extended.area.bytes()[4]), (6, 0xc0));
    run(&mut guest, &[FSTP]);
    assert_eq!((double(&guest), top(&guest)), (1.0, 7));
    run(&mut guest, &[FSTP]);
    assert_eq!((double(&guest), top(&guest)), (0.0, 0));
    assert_eq!(guest.extended.area.bytes()[4], 0);
}

#[test]
fn arithmetic_in_each_form_is_that_of_the_cpu() {
    type Compute = fn(f64, f64) -> f64;
    let forms: [(&[u8], Compute); 14] = [
        (&[0xde, 0xc1], |a, b| a + b), // faddp
        (&[0xde, 0xe9], |a, b| a - b), // fsubp st(1), st
        (&[0xde, 0xe1], |a, b| b - a), // fsubrp st(1), st
        (&[0xde, 0xc9], |a, b| a * b), // fmulp
        (&[0xde, 0xf9], |a, b| a / b), // fdivp st(1), st
        (&[0xde, 0xf1], |a, b| b / a), // fdivrp st(1), st
        (&[0xd8, 0xc1], |a, b| b + a), // fadd st, st(1)
        (&[0xd8, 0xe1], |a, b| b - a), // fsub st, st(1)
        (&[0xd8, 0xe9], |a, b| a - b), // fsubr st, st(1)
        (&[0xdc, 0x0f], |a, b| b * a), // fmul qword [rdi]
        (&[0xdc, 0x37], |a, b| b / a), // fdiv qword [rdi]
        (&[0xdc, 0x3f], |a, b| a / b), // fdivr qword [rdi]
        (&[0xd9, 0xe0], |_, b| -b),    // fchs
        (&[0xd9, 0xc9], |a, _| a),     // fxch
    ];
    for (a, b) in [
        (1.5, 0.1),
        (-3.25, 7.0),
        (1e100, 3e-100),
        (0.1, 0.3),
        (0.0, 5.0),
    ] {
        for (form, compute) in forms {
            let expected = compute(a, b);
            if !expected.is_finite() {
                continue;
            }
            let mut guest = with(a, b);
            run(&mut guest, &[FLD_A, FLD_B, form, FSTP]);
            assert_eq!(
                double(&guest).to_bits(),
                expected.to_bits(),
                "{a} {b} {form:x?}"
            );
        }
    }
}

#[test]
fn integers_and_singles_are_loaded_and_stored() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL, (-7_i64).cast_unsigned());
    // fild qword, word and dword [rdi]; faddp; faddp; fistp dword [rdi+16]
    let codes: [&[u8]; 6] = [
        &[0xdf, 0x2f],
        &[0xdf, 0x07],
        &[0xdb, 0x07],
        &[0xde, 0xc1],
        &[0xde, 0xc1],
        &[0xdb, 0x5f, 16],
    ];
    run(&mut guest, &codes);
    assert_eq!(guest.read(DATA_PHYSICAL + 16) as i32, -21);
    // fild; fmul dword [rdi+8]; fst dword [rdi+16]; fistp qword [rdi+24]
    guest.write(DATA_PHYSICAL + 8, 0.5_f32.to_bits().into());
    let codes: [&[u8]; 4] = [
        &[0xdf, 0x2f],
        &[0xd8, 0x4f, 8],
        &[0xd9, 0x57, 16],
        &[0xdf, 0x7f, 24],
    ];
    run(&mut guest, &codes);
    let single = f32::from_bits(guest.read(DATA_PHYSICAL + 16) as u32);
    assert_eq!(single, -3.5);
    assert_eq!(guest.read(DATA_PHYSICAL + 24).cast_signed(), -4);
    assert_eq!(guest.extended.area.fsw() & 0x20, 0x20);
}

#[test]
fn fisttp_cuts_off_whatever_the_direction_of_rounding() {
    for (number, whole) in [(2.9, 2), (-2.9, -2), (0.25, 0)] {
        let mut guest = with(number, 0.0);
        // fisttp dword [rdi+16]
        run(&mut guest, &[FLD_A, &[0xdb, 0x4f, 16]]);
        assert_eq!(guest.read(DATA_PHYSICAL + 16) as i32, whole, "{number}");
        assert_eq!(top(&guest), 0);
    }
}

#[test]
fn the_environment_and_the_state_have_the_layout_of_32_bits() {
    let mut guest = with(1.0, 0.0);
    run(&mut guest, &[FLD_A, FLDZ]);
    guest.extended.area.bytes_mut()[6..8].copy_from_slice(&0x123_u16.to_le_bytes());
    guest.extended.area.bytes_mut()[8..16].copy_from_slice(&0x11_2233_4455_u64.to_le_bytes());
    guest.extended.area.bytes_mut()[16..24].copy_from_slice(&0x6677_8899_u64.to_le_bytes());
    // fnstenv [rdi+0x100]; fnsave [rdi+0x200]
    run(&mut guest, &[&[0xd9, 0xb7, 0, 1, 0, 0]]);
    assert_eq!(guest.extended.area.fcw(), 0x27f);
    run(&mut guest, &[&[0xdd, 0xb7, 0, 2, 0, 0]]);
    // Control, status with TOP 6, tags: zero in 6, a number in 7; FIP, FOP, FDP, FDS.
    let words: [u32; 7] = [
        0xffff_027f,
        0xffff_3000,
        0xffff_1fff,
        0x2233_4455,
        0x0123_0000,
        0x6677_8899,
        0xffff_0000,
    ];
    let expected: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for offset in [0x100, 0x200] {
        assert_eq!(guest.read_bytes(DATA_PHYSICAL + offset, 28), expected);
    }
    // Then ST(0) and ST(1); the unit is as after FNINIT.
    let numbers = guest.read_bytes(DATA_PHYSICAL + 0x21c, 20);
    let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
    assert_eq!((&numbers[..10], &numbers[10..]), (&[0; 10][..], &one[..]));
    assert_eq!((guest.extended.area.fcw(), top(&guest)), (0x37f, 0));
    assert_eq!(guest.extended.area.bytes()[4], 0);
    // frstor [rdi+0x200]; fstp; fstp
    run(&mut guest, &[&[0xdd, 0xa7, 0, 2, 0, 0], FSTP]);
    assert_eq!(double(&guest), 0.0);
    run(&mut guest, &[FSTP]);
    assert_eq!((double(&guest), top(&guest)), (1.0, 0));
}

#[test]
fn an_environment_that_unmasks_what_it_brings_makes_it_pending() {
    let mut guest = guest();
    // FCW unmasks the invalid operation that FSW has; all registers empty.
    guest.write(DATA_PHYSICAL, 0x37e | 1 << 32);
    guest.write(DATA_PHYSICAL + 8, 0xffff);
    run(&mut guest, &[&[0xd9, 0x27]]);
    let pending = Ok(Completion::Fault(Exception::X87));
    assert_eq!(guest.run(FLDZ), pending);
    assert_eq!(guest.run(&[0xd9, 0xd0]), pending);
    // FNSTENV does not look, and masks it.
    run(&mut guest, &[&[0xd9, 0x77, 0x40], FLDZ]);
}

#[test]
fn the_formats_of_16_bits_are_not_completed() {
    for code in [[0x66, 0xd9, 0x37], [0x66, 0xdd, 0x37], [0x66, 0xd9, 0x27]] {
        let outcome = guest().run(&code);
        assert!(
            matches!(outcome, Err(NotCompleted::Unsupported { .. })),
            "{code:x?}"
        );
    }
}

#[test]
fn all_80_bits_go_through_a_load_and_a_store() {
    let mut guest = guest();
    let pi = [0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40];
    guest.write_bytes(DATA_PHYSICAL, &pi);
    run(&mut guest, &[&[0xdb, 0x2f], &[0xdb, 0x7f, 16]]);
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 16, 10), pi);
    // A NaN as well.
    guest.write_bytes(DATA_PHYSICAL, &[0xff; 10]);
    run(&mut guest, &[&[0xdb, 0x2f], &[0xdb, 0x7f, 16]]);
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 16, 10), [0xff; 10]);
}

#[test]
fn comparisons_set_the_units_flags_or_the_cpus() {
    for (a, b, fsw, rflags) in [
        (1.0, 2.0, 0, 0),
        (2.0, 1.0, 0x100, CF),
        (3.0, 3.0, 0x4000, ZF),
    ] {
        let mut guest = with(a, b);
        run(&mut guest, &[FLD_A, FLD_B, &[0xda, 0xe9]]); // fucompp
        assert_eq!(guest.extended.area.fsw() & 0x4700, fsw, "{a} {b}");
        assert_eq!(top(&guest), 0);
        let mut guest = with(a, b);
        guest.state.registers.rflags |= ARITHMETIC;
        run(&mut guest, &[FLD_A, FLD_B, &[0xdf, 0xf1]]); // fcomip st, st(1)
        assert_eq!(guest.state.registers.rflags, 2 | rflags);
        assert_eq!(top(&guest), 7);
    }
}

#[test]
fn what_would_be_an_exception_of_the_unit_is_not_completed_and_changes_nothing() {
    let inexact_unmasked = 0x35f_u16;
    let mut guest = with(1.0, 3.0);
    guest.extended.area.bytes_mut()[..2].copy_from_slice(&inexact_unmasked.to_le_bytes());
    run(&mut guest, &[FLD_A, FLD_B]);
    // An inexact quotient; an empty register; an infinity; a division by zero.
    let refused = |guest: &mut Guest, code: &[u8]| {
        let (state, area) = (guest.state, guest.extended.area.clone());
        let outcome = guest.run(code);
        assert!(
            matches!(outcome, Err(NotCompleted::Unsupported { .. })),
            "{code:x?}"
        );
        assert_eq!(guest.state, state);
        assert_eq!(guest.extended.area, area);
    };
    refused(&mut guest, &[0xde, 0xf9]);
    refused(&mut guest, &[0xd8, 0xc2]);
    guest.write(DATA_PHYSICAL, f64::INFINITY.to_bits());
    refused(&mut guest, &[0xdc, 0x07]);
    guest.write(DATA_PHYSICAL, 0);
    refused(&mut guest, &[0xdc, 0x37]);
    run(&mut guest, &[FLDZ, FLDZ, FLDZ, FLDZ, FLDZ, FLDZ]);
    refused(&mut guest, FLD1);
}

#[test]
fn without_the_unit_it_is_not_available() {
    for bit in [CR0_TS, CR0_EM] {
        let mut guest = guest();
        guest.state.special.cr0 |= bit;
        let fault = Ok(Completion::Fault(Exception::DEVICE_NOT_AVAILABLE));
        assert_eq!(guest.run(FLDZ), fault);
    }
}
