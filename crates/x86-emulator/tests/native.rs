//! The emulator against the CPU of this machine: the same bytes, registers, memory and extended
//! state, and then the same of all of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells what it skips, its helpers too"
)]

#[path = "native/encoding.rs"]
mod encoding;
mod guest;
#[path = "native/trampoline.rs"]
mod trampoline;

use std::arch::x86_64::__cpuid_count;

use encoding::{Form, Opcode, Random};
use guest::*;
use trampoline::{Arena, Frame, MOVED};
use vmmkit_hypervisor::x86::{CpuidEntry, Registers};
use vmmkit_x86_emulator::{Completion, XsaveArea};

/// Of each form of each instruction.
const ROUNDS: usize = 98;
const DATA_PAGES: usize = 3;
/// Where the data's pages are in the guest's RAM.
const PHYSICAL: u64 = 0x4_0000;

/// A CPU and a guest that see the same addresses.
struct Pair {
    arena: Arena,
    frame: Box<Frame>,
    guest: Guest,
    random: Random,
    rounds: usize,
    /// EDX:EAX is a mask, and has only components that the trampoline moves.
    masked: bool,
}

fn native_cpuid() -> Vec<CpuidEntry> {
    let leaves = (0..63)
        .map(|index| (0xd, index))
        .chain([(0x8000_0008, 0), (1, 0)]);
    leaves
        .map(|(function, index)| {
            let leaf = __cpuid_count(function, index);
            CpuidEntry {
                function,
                index,
                significant_index: function == 0xd,
                eax: leaf.eax,
                ebx: leaf.ebx,
                ecx: leaf.ecx,
                edx: leaf.edx,
            }
        })
        .collect()
}

/// Whether the CPU has a feature; tells where not.
fn has(what: &str, function: u32, index: u32, bit: u32, of: fn(&CpuidEntry) -> u32) -> bool {
    let leaf = __cpuid_count(function, index);
    let entry = CpuidEntry {
        eax: leaf.eax,
        ebx: leaf.ebx,
        ecx: leaf.ecx,
        edx: leaf.edx,
        ..CpuidEntry::default()
    };
    let has = of(&entry) >> bit & 1 != 0;
    if !has {
        eprintln!("SKIPPED: the CPU has no {what}");
    }
    has
}

fn has_xsave() -> bool {
    has("XSAVE", 1, 0, 27, |leaf| leaf.ecx)
}

impl Pair {
    fn new(seed: u64) -> Self {
        let arena = Arena::new(DATA_PAGES);
        let mut guest = Guest::with_cpuid(&native_cpuid());
        guest.map(arena.code(), CODE_PHYSICAL | PRESENT);
        for page in 0..DATA_PAGES as u64 {
            // In the reverse order, so that what crosses a page is in two places.
            let physical = PHYSICAL + (DATA_PAGES as u64 - page) * 0x2000;
            guest.map(arena.data() + page * 0x1000, physical | KERNEL);
        }
        let mut pair = Self {
            arena,
            frame: Frame::new(),
            guest,
            random: Random::new(seed),
            rounds: ROUNDS,
            masked: false,
        };
        if i32::try_from(pair.arena.code()).is_err() {
            eprintln!("SKIPPED: the host gives no memory below 2 GiB for absolute addresses");
        }
        pair.arena.run(&[0x0f, 0x01, 0xd0], &mut pair.frame); // XGETBV
        pair.guest.extended.xcr0 = pair.frame.gpr[0] | pair.frame.gpr[2] << 32;
        pair
    }

    /// New values everywhere: registers, arithmetic flags, data, extended state.
    fn shuffle(&mut self, masked: bool) {
        for value in &mut self.frame.gpr {
            *value = self.random.edge();
        }
        self.frame.rflags = 2 | self.random.next() & ARITHMETIC;
        let random = &mut self.random;
        random.fill(self.arena.data_bytes());
        let before = &mut self.frame.before.0;
        before.fill(0);
        let in_use = random.next() & u64::from(MOVED) & self.guest.extended.xcr0;
        fill_image(random, before);
        before[512..520].copy_from_slice(&in_use.to_le_bytes());
        if masked {
            before[0] |= 0x3f;
        }
    }

    /// Loads the extended state into the CPU and back, and gives the guest what comes of it.
    fn settle(&mut self) {
        let gpr = self.frame.gpr;
        let rflags = self.frame.rflags;
        self.arena.run(&[0x90], &mut self.frame);
        (self.frame.gpr, self.frame.rflags) = (gpr, rflags);
        self.guest.extended.area = XsaveArea::new(Box::new(self.frame.after.0));
    }

    /// Runs `code` here and there, and compares all.
    fn compare(&mut self, code: &[u8]) {
        let Frame { gpr, rflags, .. } = *self.frame;
        let what = || format!("{code:02x?} with {gpr:x?} {rflags:#x}");
        let physical: Vec<u64> = (0..DATA_PAGES as u64)
            .map(|page| PHYSICAL + (DATA_PAGES as u64 - page) * 0x2000)
            .collect();
        for (page, physical) in self.arena.data_bytes().chunks(4096).zip(&physical) {
            self.guest.write_bytes(*physical, page);
        }
        self.guest.state.registers = registers(&self.frame);
        self.guest.state.registers.rip = self.arena.instruction_address();
        let outcome = self.guest.run(code);
        assert!(
            matches!(outcome, Ok(Completion::Done(_))),
            "{}: {outcome:?}",
            what()
        );

        self.arena.run(code, &mut self.frame);

        let mut expected = registers(&self.frame);
        expected.rip = self.arena.instruction_address() + code.len() as u64;
        assert_eq!(self.guest.state.registers, expected, "{}", what());
        for (number, (page, physical)) in self
            .arena
            .data_bytes()
            .chunks(4096)
            .zip(&physical)
            .enumerate()
        {
            let ours = self.guest.read_bytes(*physical, 4096);
            let first = ours.iter().zip(page).position(|(ours, cpu)| ours != cpu);
            if let Some(at) = first {
                let until = (at + 32).min(4096);
                panic!(
                    "{}: page {number}, byte {at:#x}: {:x?}, not {:x?}",
                    what(),
                    &ours[at..until],
                    &page[at..until]
                );
            }
        }
        self.compare_extended(&what);
    }

    /// A component in its initial state may or may not count as in use: the bytes decide.
    fn compare_extended(&mut self, what: &dyn Fn() -> String) {
        let ours = self.guest.extended.area.clone();
        let cpu = XsaveArea::new(Box::new(self.frame.after.0));
        assert_eq!(ours.mxcsr(), cpu.mxcsr(), "{}: MXCSR", what());
        for (number, range) in native_ranges() {
            let value = |area: &XsaveArea| {
                if area.xstate_bv() >> number & 1 != 0 {
                    return area.bytes()[range.clone()].to_vec();
                }
                let mut initial = vec![0; range.len()];
                if range.start == 0 {
                    initial[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
                }
                initial
            };
            assert_eq!(
                value(&ours),
                value(&cpu),
                "{}: component {number} at {range:?}",
                what()
            );
        }
    }

    /// Every memory form of an instruction, its operand at a multiple of `alignment`. `prepare`
    /// gets the operand's bytes and may change them and the registers that are not its address.
    fn memory_forms(
        &mut self,
        opcode: &Opcode,
        alignment: u64,
        masked: bool,
        prepare: fn(&mut Random, &mut [u8], &mut Frame),
    ) {
        for round in 0..self.rounds {
            self.shuffle(masked);
            let room = (DATA_PAGES as u64 * 4096 - 2816) / alignment;
            let target = self.arena.data() + self.random.next() % room * alignment;
            let Some(form) = Form::of(round, &mut self.random, target, self.masked) else {
                continue; // the arena is not below 2 GiB
            };
            if self.masked {
                // The other components, PKRU and AMX among them, are the test's own.
                self.frame.gpr[0] &= u64::from(MOVED) | 0xffff_ffff_0000_0000;
                self.frame.gpr[2] &= 0xffff_ffff_0000_0000;
            }
            let code = form.encode(
                opcode,
                target,
                self.arena.instruction_address(),
                &mut self.frame.gpr,
            );
            let offset = (target - self.arena.data()) as usize;
            prepare(
                &mut self.random,
                &mut self.arena.data_bytes()[offset..],
                &mut self.frame,
            );
            self.settle();
            self.compare(&code);
        }
    }

    fn register_form(&mut self, code: &[u8], masked: bool) {
        for _ in 0..self.rounds {
            self.shuffle(masked);
            self.settle();
            self.compare(code);
        }
    }
}

/// The bytes of each component that the trampoline moves.
fn native_ranges() -> Vec<(u32, std::ops::Range<usize>)> {
    // AMD's CPUs keep the pointers to the last x87 instruction only where it has an error.
    let control = if is_amd() { 0..6 } else { 0..24 };
    let mut all = vec![(0, control), (0, 32..160), (1, 160..416)];
    for number in (2..8).filter(|number| MOVED >> number & 1 != 0) {
        let leaf = __cpuid_count(0xd, number);
        let start = leaf.ebx as usize;
        all.push((number, start..start + leaf.eax as usize));
    }
    all
}

fn is_amd() -> bool {
    __cpuid_count(0, 0).ecx == u32::from_le_bytes(*b"cAMD")
}

/// Random contents for an image of the standard format, such that XRSTOR takes it.
fn fill_image(random: &mut Random, image: &mut [u8]) {
    random.fill(&mut image[..2696]);
    let fcw = random.next() as u16 & 0x1f3f | 0x40;
    image[0..2].copy_from_slice(&fcw.to_le_bytes());
    // No exception flags: that they are pending is then a question of FCW.
    let fsw = random.next() as u16 & 0x7f00;
    image[2..4].copy_from_slice(&fsw.to_le_bytes());
    image[5] = 0;
    image[7] &= 7; // 11 bits of opcode
    // Canonical pointers.
    image[13..16].fill(0);
    image[21..24].fill(0);
    let mxcsr = random.next() as u32 & 0xffbf;
    image[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for register in 0..8 {
        image[32 + register * 16 + 10..48 + register * 16].fill(0);
    }
    image[512..576].fill(0);
}

fn registers(frame: &Frame) -> Registers {
    let [
        rax,
        rcx,
        rdx,
        rbx,
        _,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
    ] = frame.gpr;
    Registers {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp: 0,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: 0,
        // IF is the host's.
        rflags: frame.rflags & !(1 << 9),
    }
}

fn as_is(_: &mut Random, _: &mut [u8], _: &mut Frame) {}

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
