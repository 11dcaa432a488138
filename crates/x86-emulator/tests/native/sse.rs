//! SSE: packed operations, shuffles, moves.

use super::*;

/// With operand bytes that are now and then those of the register.
fn alike(random: &mut Random, operand: &mut [u8], frame: &mut Frame) {
    let register = &frame.before.0[160 + 5 * 16..160 + 6 * 16];
    for (byte, same) in operand.iter_mut().zip(register) {
        if random.next() & 1 == 0 {
            *byte = *same;
        }
    }
}

/// Logic and arithmetic: mandatory prefix, and the byte after 0FH.
const PACKED: [(&[u8], u8); 40] = [
    (&[], 0x54),
    (&[], 0x55),
    (&[], 0x56),
    (&[], 0x57),
    (&[0x66], 0x54),
    (&[0x66], 0x55),
    (&[0x66], 0x56),
    (&[0x66], 0x57),
    (&[0x66], 0xdb),
    (&[0x66], 0xdf),
    (&[0x66], 0xeb),
    (&[0x66], 0xef),
    (&[0x66], 0xfc),
    (&[0x66], 0xfd),
    (&[0x66], 0xfe),
    (&[0x66], 0xd4),
    (&[0x66], 0xf8),
    (&[0x66], 0xf9),
    (&[0x66], 0xfa),
    (&[0x66], 0xfb),
    (&[0x66], 0x74),
    (&[0x66], 0x75),
    (&[0x66], 0x76),
    (&[0x66], 0x64),
    (&[0x66], 0x60),
    (&[0x66], 0x61),
    (&[0x66], 0x62),
    (&[0x66], 0x6c),
    (&[0x66], 0x68),
    (&[0x66], 0x69),
    (&[0x66], 0x6a),
    (&[0x66], 0x6d),
    (&[0x66], 0xf1),
    (&[0x66], 0xf2),
    (&[0x66], 0xf3),
    (&[0x66], 0xd1),
    (&[0x66], 0xd2),
    (&[0x66], 0xd3),
    (&[0x66], 0xe1),
    (&[0x66], 0xe2),
];

#[test]
fn packed_operations() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(14);
    pair.rounds = 28;
    for (prefix, opcode) in PACKED {
        let with_memory = Opcode::new(prefix, false, &[0x0f, opcode], 5);
        pair.memory_forms(&with_memory, 16, true, alike);
        pair.register_form(&[prefix, &[0x45, 0x0f, opcode, 0xe2]].concat(), true);
        pair.register_form(&[prefix, &[0x0f, opcode, 0xff]].concat(), true);
    }
}

#[test]
fn shifts_by_a_small_count() {
    if !has_xsave() {
        return;
    }
    fn small(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
        operand[..16].fill(0);
        operand[0] = random.next() as u8 % 70;
    }
    let mut pair = Pair::new(16);
    pair.rounds = 56;
    for opcode in [0xf1, 0xf2, 0xf3, 0xd1, 0xd2, 0xd3, 0xe1, 0xe2] {
        let with_memory = Opcode::new(&[0x66], false, &[0x0f, opcode], 5);
        pair.memory_forms(&with_memory, 16, true, small);
    }
}

#[test]
fn shifts_and_shuffles_by_an_immediate() {
    if !has_xsave() || !has("SSSE3", 1, 0, 9, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(17);
    pair.rounds = 4;
    let shifts = [
        (0x71, 0xd1),
        (0x71, 0xe1),
        (0x71, 0xf1),
        (0x72, 0xd1),
        (0x72, 0xe1),
    ];
    let more = [
        (0x72, 0xf1),
        (0x73, 0xd1),
        (0x73, 0xd9),
        (0x73, 0xf1),
        (0x73, 0xf9),
    ];
    for (opcode, modrm) in shifts.into_iter().chain(more) {
        for count in [0, 1, 7, 8, 15, 16, 20, 31, 32, 63, 64, 200] {
            pair.register_form(&[0x66, 0x0f, opcode, modrm, count], true);
        }
    }
    for order in [0x00, 0x1b, 0x39, 0x4e, 0x93, 0xe4, 0xff] {
        for prefix in [0x66, 0xf2, 0xf3] {
            pair.register_form(&[prefix, 0x45, 0x0f, 0x70, 0xca, order], true);
            let with_memory = Opcode::new(&[prefix], false, &[0x0f, 0x70], 3).immediate(order);
            pair.rounds = 7;
            pair.memory_forms(&with_memory, 16, true, as_is);
        }
    }
    for count in [0, 1, 8, 15, 16, 17, 31, 32, 33, 255] {
        pair.register_form(&[0x66, 0x0f, 0x3a, 0x0f, 0xca, count], true);
    }
}

#[test]
fn pshufb() {
    if !has_xsave() || !has("SSSE3", 1, 0, 9, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(18);
    pair.memory_forms(
        &Opcode::new(&[0x66], false, &[0x0f, 0x38, 0x00], 5),
        16,
        true,
        as_is,
    );
    pair.register_form(&[0x66, 0x0f, 0x38, 0x00, 0xca], true);
}

#[test]
fn sse_moves() {
    if !has_xsave() {
        return;
    }
    let aligned: [(&[u8], u8); 9] = [
        (&[], 0x28),
        (&[], 0x29),
        (&[0x66], 0x28),
        (&[0x66], 0x29),
        (&[0x66], 0x6f),
        (&[0x66], 0x7f),
        (&[], 0x2b),
        (&[0x66], 0x2b),
        (&[0x66], 0xe7),
    ];
    let unaligned: [(&[u8], u8); 11] = [
        (&[], 0x10),
        (&[], 0x11),
        (&[0x66], 0x10),
        (&[0x66], 0x11),
        (&[0xf3], 0x6f),
        (&[0xf3], 0x7f),
        (&[0xf2], 0xf0),
        (&[0x66], 0x6e),
        (&[0x66], 0x7e),
        (&[0xf3], 0x7e),
        (&[0x66], 0xd6),
    ];
    let mut pair = Pair::new(15);
    pair.rounds = 28;
    for (alignment, moves) in [(16, &aligned[..]), (1, &unaligned[..])] {
        for (prefix, opcode) in moves {
            for register in [2, 13] {
                let opcode = Opcode::new(prefix, false, &[0x0f, *opcode], register);
                pair.memory_forms(&opcode, alignment, true, as_is);
            }
        }
    }
    for wide in [0x6e, 0x7e] {
        let opcode = Opcode::new(&[0x66], true, &[0x0f, wide], 9);
        pair.memory_forms(&opcode, 1, true, as_is);
        pair.register_form(&[0x66, 0x0f, wide, 0xd0], true);
        pair.register_form(&[0x66, 0x4d, 0x0f, wide, 0xd0], true);
    }
    for code in [
        &[0x0f, 0x28, 0xca][..],
        &[0x44, 0x0f, 0x29, 0xca],
        &[0xf3, 0x41, 0x0f, 0x6f, 0xca],
        &[0xf3, 0x0f, 0x7e, 0xca],
        &[0x66, 0x44, 0x0f, 0xd6, 0xca],
    ] {
        pair.register_form(code, true);
    }
}
