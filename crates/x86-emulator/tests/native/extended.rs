//! x87, MXCSR, and the saves and restores of extended state.

use super::*;

#[test]
fn x87_control() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(4);
    for code in [&[0xdb, 0xe3][..], &[0xdb, 0xe2], &[0xdf, 0xe0]] {
        pair.register_form(code, false);
    }
    for code in [&[0x9b][..], &[0x0f, 0x77]] {
        pair.register_form(code, true);
    }
    pair.memory_forms(&Opcode::new(&[], false, &[0xd9], 7), 1, false, as_is);
    pair.memory_forms(&Opcode::new(&[], false, &[0xdd], 7), 1, false, as_is);
    pair.memory_forms(&Opcode::new(&[], false, &[0xd9], 5), 1, true, as_is);
}

#[test]
fn mxcsr() {
    if !has_xsave() {
        return;
    }
    fn valid(_: &mut Random, operand: &mut [u8], _: &mut Frame) {
        operand[2..4].fill(0);
    }
    let mut pair = Pair::new(5);
    pair.memory_forms(&Opcode::new(&[], false, &[0x0f, 0xae], 2), 1, false, valid);
    pair.memory_forms(&Opcode::new(&[], false, &[0x0f, 0xae], 3), 1, false, as_is);
}

#[test]
fn fxsave_and_fxrstor() {
    if !has_xsave() {
        return;
    }
    fn image(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
        fill_image(random, operand);
    }
    let mut pair = Pair::new(6);
    for wide in [true, false] {
        pair.memory_forms(&Opcode::new(&[], wide, &[0x0f, 0xae], 0), 16, false, as_is);
        pair.memory_forms(&Opcode::new(&[], wide, &[0x0f, 0xae], 1), 16, false, image);
    }
}

/// A header that can have been there before.
fn any_header(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
    operand[512..520].copy_from_slice(&(random.next() & 7).to_le_bytes());
}

#[test]
fn xsave() {
    if !has_xsave() {
        return;
    }
    let mut pair = Pair::new(7);
    pair.masked = true;
    for wide in [true, false] {
        pair.memory_forms(
            &Opcode::new(&[], wide, &[0x0f, 0xae], 4),
            64,
            false,
            any_header,
        );
    }
}

#[test]
fn xsaveopt() {
    if !has_xsave() || !has("XSAVEOPT", 0xd, 1, 0, |leaf| leaf.eax) {
        return;
    }
    let mut pair = Pair::new(8);
    pair.masked = true;
    for wide in [true, false] {
        pair.memory_forms(
            &Opcode::new(&[], wide, &[0x0f, 0xae], 6),
            64,
            false,
            any_header,
        );
    }
}

#[test]
fn xsavec() {
    if !has_xsave() || !has("XSAVEC", 0xd, 1, 1, |leaf| leaf.eax) {
        return;
    }
    let mut pair = Pair::new(9);
    pair.masked = true;
    for wide in [true, false] {
        pair.memory_forms(
            &Opcode::new(&[], wide, &[0x0f, 0xc7], 4),
            64,
            false,
            any_header,
        );
    }
}

#[test]
fn xrstor_of_the_standard_format() {
    if !has_xsave() {
        return;
    }
    fn image(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
        fill_image(random, operand);
        let xcr0 = u64::from(__cpuid_count(0xd, 0).eax & MOVED);
        operand[512..520].copy_from_slice(&(random.next() & xcr0).to_le_bytes());
    }
    let mut pair = Pair::new(10);
    pair.masked = true;
    for wide in [true, false] {
        pair.memory_forms(&Opcode::new(&[], wide, &[0x0f, 0xae], 5), 64, false, image);
    }
}

#[test]
fn xrstor_of_the_compacted_format() {
    if !has_xsave() || !has("XSAVEC", 0xd, 1, 1, |leaf| leaf.eax) {
        return;
    }
    fn image(random: &mut Random, operand: &mut [u8], _: &mut Frame) {
        fill_image(random, operand);
        let xcr0 = u64::from(__cpuid_count(0xd, 0).eax & MOVED);
        let present = random.next() & xcr0;
        let in_use = random.next() & present;
        operand[512..520].copy_from_slice(&in_use.to_le_bytes());
        operand[520..528].copy_from_slice(&(present | 1 << 63).to_le_bytes());
    }
    let mut pair = Pair::new(11);
    pair.masked = true;
    for wide in [true, false] {
        pair.memory_forms(&Opcode::new(&[], wide, &[0x0f, 0xae], 5), 64, false, image);
    }
}

#[test]
fn xgetbv() {
    if !has_xsave() || !has("XGETBV with ECX 1", 0xd, 1, 2, |leaf| leaf.eax) {
        return;
    }
    let mut pair = Pair::new(12);
    let mut indices = vec![0, 1];
    if pair.guest.extended.xcr0 & !u64::from(MOVED) != 0 {
        eprintln!("SKIPPED: XGETBV with ECX 1 would tell of components of the test's own");
        indices.pop();
    }
    for index in indices {
        for _ in 0..ROUNDS {
            pair.shuffle(false);
            pair.frame.gpr[1] = 0xffff_ffff_0000_0000 | index;
            if !is_amd() {
                // Whether MXCSR alone is a use of SSE is the CPU's choice.
                pair.frame.before.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
            }
            pair.settle();
            pair.compare(&[0x0f, 0x01, 0xd0]);
        }
    }
}

#[test]
fn vzeroupper_and_vzeroall() {
    if !has_xsave() || !has("AVX", 1, 0, 28, |leaf| leaf.ecx) {
        return;
    }
    let mut pair = Pair::new(40);
    pair.register_form(&[0xc5, 0xf8, 0x77], true);
    pair.register_form(&[0xc5, 0xfc, 0x77], true);
    // VMOVDQA YMM15, YMM3; VMOVUPS XMM1, XMM2
    pair.register_form(&[0xc5, 0x7d, 0x6f, 0xfb], true);
    pair.register_form(&[0xc5, 0xf8, 0x10, 0xca], true);
}
