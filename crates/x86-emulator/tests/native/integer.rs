//! Instructions on general registers, and those that do nothing that can be seen.

use super::*;

#[test]
fn popcnt_of_memory() {
    if !has_xsave() || !has("POPCNT", 1, 0, 23, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(1);
    for (prefix, wide) in [
        (&[0xf3][..], true),
        (&[0xf3], false),
        (&[0x66, 0xf3], false),
    ] {
        for register in [0, 1, 7, 9, 15] {
            let opcode = Opcode::new(prefix, wide, &[0x0f, 0xb8], register);
            pair.memory_forms(&opcode, 1, true, as_is);
        }
    }
}

#[test]
fn popcnt_of_registers() {
    if !has_xsave() || !has("POPCNT", 1, 0, 23, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(2);
    pair.rounds = 14;
    for modrm in (0xc0..=0xff).filter(|modrm| modrm & 7 != 4 && modrm >> 3 & 7 != 4) {
        pair.register_form(&[0xf3, 0x48, 0x0f, 0xb8, modrm], true);
    }
    pair.register_form(&[0x66, 0xf3, 0x45, 0x0f, 0xb8, 0xc1], true);
    pair.register_form(&[0xf3, 0x45, 0x0f, 0xb8, 0xc1], true);
}

#[test]
fn cmpxchg16b_and_8b() {
    if !has_xsave() || !has("CMPXCHG16B", 1, 0, 13, |leaf| leaf.ecx) {
        return;
    }
    /// Half of the time, what is compared is there.
    fn match_half(random: &mut Random, operand: &mut [u8], frame: &mut Frame) {
        if random.next() & 1 == 0 {
            operand[..8].copy_from_slice(&frame.gpr[0].to_le_bytes());
            operand[8..16].copy_from_slice(&frame.gpr[2].to_le_bytes());
        }
    }
    fn match_half_of_8(random: &mut Random, operand: &mut [u8], frame: &mut Frame) {
        if random.next() & 1 == 0 {
            operand[..4].copy_from_slice(&frame.gpr[0].to_le_bytes()[..4]);
            operand[4..8].copy_from_slice(&frame.gpr[2].to_le_bytes()[..4]);
        }
    }
    let mut pair = Pair::new(3);
    for lock in [&[][..], &[0xf0]] {
        let opcode = Opcode::new(lock, true, &[0x0f, 0xc7], 1);
        pair.memory_forms(&opcode, 16, true, match_half);
        let opcode = Opcode::new(lock, false, &[0x0f, 0xc7], 1);
        pair.memory_forms(&opcode, 8, true, match_half_of_8);
    }
}

#[test]
fn crc32() {
    if !has_xsave() || !has("SSE4.2", 1, 0, 20, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(19);
    pair.rounds = 56;
    for (prefixes, wide, opcode) in [
        (&[0xf2][..], false, 0xf0),
        (&[0xf2], true, 0xf0),
        (&[0xf2], false, 0xf1),
        (&[0xf2], true, 0xf1),
        (&[0x66, 0xf2], false, 0xf1),
    ] {
        let with_memory = Opcode::new(prefixes, wide, &[0x0f, 0x38, opcode], 6);
        pair.memory_forms(&with_memory, 1, true, as_is);
    }
    // CRC32 EAX, BL; EAX, BH; EAX, SIL; R9D, R10B; EAX, CX; RAX, RDX
    for code in [
        &[0xf2, 0x0f, 0x38, 0xf0, 0xc3][..],
        &[0xf2, 0x0f, 0x38, 0xf0, 0xc7],
        &[0xf2, 0x40, 0x0f, 0x38, 0xf0, 0xc6],
        &[0xf2, 0x45, 0x0f, 0x38, 0xf0, 0xca],
        &[0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc1],
        &[0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc2],
    ] {
        pair.register_form(code, true);
    }
}

#[test]
fn fences_and_flushes() {
    if !has_xsave() || !has("CLFLUSHOPT", 7, 0, 23, |leaf| leaf.ebx) {
        return;
    }
    let mut pair = Pair::new(13);
    for last in [0xe8, 0xf0, 0xf8] {
        pair.register_form(&[0x0f, 0xae, last], true);
    }
    pair.memory_forms(&Opcode::new(&[], false, &[0x0f, 0xae], 7), 1, true, as_is);
    pair.memory_forms(
        &Opcode::new(&[0x66], false, &[0x0f, 0xae], 7),
        1,
        true,
        as_is,
    );
}
