//! A CPU and a guest, and what is compared of them.

use std::ops::Range;

use super::*;

/// Of each form of each instruction.
pub(crate) const ROUNDS: usize = 98;

pub(crate) const DATA_PAGES: usize = 3;

/// Where the data's pages are in the guest's RAM.
pub(crate) const PHYSICAL: u64 = 0x4_0000;

/// A CPU and a guest that see the same addresses.
pub(crate) struct Pair {
    pub(crate) arena: Arena,
    pub(crate) frame: Box<Frame>,
    pub(crate) guest: Guest,
    pub(crate) random: Random,
    pub(crate) rounds: usize,
    /// EDX:EAX is a mask, and has only components that the trampoline moves.
    pub(crate) masked: bool,
}

pub(crate) fn native_cpuid() -> Vec<CpuidEntry> {
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
pub(crate) fn has(
    what: &str,
    function: u32,
    index: u32,
    bit: u32,
    of: fn(&CpuidEntry) -> u32,
) -> bool {
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

pub(crate) fn has_xsave() -> bool {
    has("XSAVE", 1, 0, 27, |leaf| leaf.ecx)
}

/// How often an instruction on extended state is run where the CPU's answer is another.
const TRIES: u32 = 5;

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
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
    pub(crate) fn shuffle(&mut self, masked: bool) {
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
    pub(crate) fn settle(&mut self) {
        let gpr = self.frame.gpr;
        let rflags = self.frame.rflags;
        self.arena.run(&[0x90], &mut self.frame);
        (self.frame.gpr, self.frame.rflags) = (gpr, rflags);
        self.guest.extended.area = XsaveArea::new(Box::new(self.frame.after.0));
    }

    /// Settles, runs `code` here and there, and compares all.
    ///
    /// Whether a component in its initial state counts as in use may change between two moments, as the
    /// host switches to another task, also between the settling and the run: such a difference does not
    /// come again and again, so all of it is done anew.
    pub(crate) fn compare(&mut self, code: &[u8]) {
        let Frame { gpr, rflags, .. } = *self.frame;
        let data = self.arena.data_bytes().to_vec();
        for left in (0..if self.masked { TRIES } else { 1 }).rev() {
            self.settle();
            match self.difference(code) {
                None => return,
                Some(difference) if left == 0 => {
                    panic!("{code:02x?} with {gpr:x?} {rflags:#x}: {difference}")
                }
                Some(_) => {
                    (self.frame.gpr, self.frame.rflags) = (gpr, rflags);
                    self.arena.data_bytes().copy_from_slice(&data);
                }
            }
        }
    }

    /// Where the emulator's answer to `code` is not the CPU's.
    fn difference(&mut self, code: &[u8]) -> Option<String> {
        let physical: Vec<u64> = (0..DATA_PAGES as u64)
            .map(|page| PHYSICAL + (DATA_PAGES as u64 - page) * 0x2000)
            .collect();
        for (page, physical) in self.arena.data_bytes().chunks(4096).zip(&physical) {
            self.guest.write_bytes(*physical, page);
        }
        self.guest.state.registers = registers(&self.frame);
        self.guest.state.registers.rip = self.arena.instruction_address();
        let outcome = self.guest.run(code);
        if !matches!(outcome, Ok(Completion::Done(_))) {
            return Some(format!("{outcome:?}"));
        }
        self.arena.run(code, &mut self.frame);

        let mut expected = registers(&self.frame);
        expected.rip = self.arena.instruction_address() + code.len() as u64;
        let ours = &self.guest.state.registers;
        if *ours != expected {
            return Some(format!("{ours:x?}, not {expected:x?}"));
        }
        self.difference_of_data(&physical)
            .or_else(|| self.difference_of_extended())
    }

    /// Where the guest's data is not the CPU's.
    fn difference_of_data(&mut self, physical: &[u64]) -> Option<String> {
        let pages = self.arena.data_bytes().chunks(4096).zip(physical);
        for (number, (page, physical)) in pages.enumerate() {
            let ours = self.guest.read_bytes(*physical, 4096);
            let first = ours.iter().zip(page).position(|(ours, cpu)| ours != cpu);
            if let Some(at) = first {
                let until = (at + 32).min(4096);
                let (ours, cpu) = (&ours[at..until], &page[at..until]);
                return Some(format!(
                    "page {number}, byte {at:#x}: {ours:x?}, not {cpu:x?}"
                ));
            }
        }
        None
    }

    /// A component in its initial state may or may not count as in use: the bytes decide.
    fn difference_of_extended(&self) -> Option<String> {
        let ours = self.guest.extended.area.clone();
        let cpu = XsaveArea::new(Box::new(self.frame.after.0));
        if ours.mxcsr() != cpu.mxcsr() {
            return Some(format!("MXCSR {:#x}, not {:#x}", ours.mxcsr(), cpu.mxcsr()));
        }
        let value = |area: &XsaveArea, number: u32, range: Range<usize>| {
            if area.xstate_bv() >> number & 1 != 0 {
                return area.bytes()[range].to_vec();
            }
            let mut initial = vec![0; range.len()];
            if range.start == 0 {
                initial[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
            }
            initial
        };
        native_ranges(self.guest.extended.xcr0)
            .into_iter()
            .find_map(|(number, range)| {
                let ours = value(&ours, number, range.clone());
                let cpu = value(&cpu, number, range.clone());
                (ours != cpu)
                    .then(|| format!("component {number} at {range:?}: {ours:x?}, not {cpu:x?}"))
            })
    }

    /// Every memory form of an instruction, its operand at a multiple of `alignment`. `prepare`
    /// gets the operand's bytes and may change them and the registers that are not its address.
    pub(crate) fn memory_forms(
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
            self.compare(&code);
        }
    }

    pub(crate) fn register_form(&mut self, code: &[u8], masked: bool) {
        for _ in 0..self.rounds {
            self.shuffle(masked);
            self.compare(code);
        }
    }
}

/// The bytes of each component that the trampoline moves and XCR0 enables: of another one CPUID leaf 0DH
/// tells no size (a CPU without AVX-512 has no components 5 to 7).
pub(crate) fn native_ranges(xcr0: u64) -> Vec<(u32, Range<usize>)> {
    // AMD's CPUs keep the pointers to the last x87 instruction only where it has an error.
    let control = if is_amd() { 0..6 } else { 0..24 };
    let mut all = vec![(0, control), (0, 32..160), (1, 160..416)];
    let moved = u64::from(MOVED) & xcr0;
    for number in (2..8).filter(|number| moved >> number & 1 != 0) {
        let leaf = __cpuid_count(0xd, number);
        let start = leaf.ebx as usize;
        all.push((number, start..start + leaf.eax as usize));
    }
    all
}

pub(crate) fn is_amd() -> bool {
    __cpuid_count(0, 0).ecx == u32::from_le_bytes(*b"cAMD")
}

/// Random contents for an image of the standard format, such that XRSTOR takes it.
pub(crate) fn fill_image(random: &mut Random, image: &mut [u8]) {
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

pub(crate) fn registers(frame: &Frame) -> Registers {
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

pub(crate) fn as_is(_: &mut Random, _: &mut [u8], _: &mut Frame) {}
