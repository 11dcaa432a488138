//! Bytes become a vCPU's state, page tables and an instruction. It must end without a panic, RIP
//! must move as an instruction moves it, and a fault must leave the general registers alone.
//!
//! 16 registers of 8 bytes (RSP's place holds the bits of CR0, CR4, EFER and RFLAGS, see
//! `Input::state`), then the number of pokes, each 2 bytes of address and 8 of value, then the
//! instruction, then what fills the data page.

use std::cell::RefCell;

use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_x86_emulator::{
    Completed, Completion, CpuState, Emulator, ExtendedState, NotRam, PhysicalMemory, XsaveArea,
};

const RAM: usize = 1 << 16;
/// Four tables, one below the other, of which the entries 0 to 15 of the last map the RAM.
const TABLES: u64 = 0x1000;
const CODE: u64 = 0x6000;
const DATA: u64 = 0x7000;

/// RAM that knows its size.
struct Ram(RefCell<Vec<u8>>);

impl Ram {
    fn range(physical: u64, length: usize) -> Result<std::ops::Range<usize>, NotRam> {
        let start = usize::try_from(physical).map_err(|_| NotRam)?;
        let end = start.checked_add(length).filter(|end| *end <= RAM);
        Ok(start..end.ok_or(NotRam)?)
    }
}

impl PhysicalMemory for Ram {
    fn read(&self, physical: u64, bytes: &mut [u8]) -> Result<(), NotRam> {
        bytes.copy_from_slice(&self.0.borrow()[Self::range(physical, bytes.len())?]);
        Ok(())
    }

    fn write(&self, physical: u64, bytes: &[u8]) -> Result<(), NotRam> {
        self.0.borrow_mut()[Self::range(physical, bytes.len())?].copy_from_slice(bytes);
        Ok(())
    }

    fn compare_exchange_u64(&self, physical: u64, expected: u64, new: u64) -> Result<u64, NotRam> {
        assert!(physical.is_multiple_of(8));
        let mut bytes = [0; 8];
        self.read(physical, &mut bytes)?;
        let seen = u64::from_le_bytes(bytes);
        if seen == expected {
            self.write(physical, &new.to_le_bytes())?;
        }
        Ok(seen)
    }

    fn compare_exchange_u128(
        &self,
        physical: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, NotRam> {
        assert!(physical.is_multiple_of(16));
        let mut bytes = [0; 16];
        self.read(physical, &mut bytes)?;
        let seen = u128::from_le_bytes(bytes);
        if seen == expected {
            self.write(physical, &new.to_le_bytes())?;
        }
        Ok(seen)
    }
}

struct Extended {
    area: XsaveArea,
    xcr0: u64,
    msr: u64,
}

impl ExtendedState for Extended {
    type Error = std::convert::Infallible;

    fn load(&mut self) -> Result<XsaveArea, Self::Error> {
        Ok(self.area.clone())
    }

    fn store(&mut self, area: &XsaveArea) -> Result<(), Self::Error> {
        let reserved = !area.mxcsr_mask();
        assert_eq!(area.mxcsr() & reserved, 0, "no CPU would take it");
        self.area = area.clone();
        Ok(())
    }

    fn xcr0(&mut self) -> Result<u64, Self::Error> {
        Ok(self.xcr0)
    }

    fn set_xcr0(&mut self, value: u64) -> Result<(), Self::Error> {
        self.xcr0 = value;
        Ok(())
    }

    fn msr(&mut self, _: u32) -> Result<u64, Self::Error> {
        Ok(self.msr)
    }
}

struct Input<'a> {
    registers: [u64; 16],
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (registers, rest) = bytes.split_at_checked(128)?;
        let mut input = Self {
            registers: [0; 16],
            rest,
        };
        for (register, bytes) in input.registers.iter_mut().zip(registers.chunks_exact(8)) {
            *register = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(input)
    }

    /// Long mode; the rest as the bits of what would be RSP say.
    fn state(&self) -> CpuState {
        let mut state = CpuState::default();
        let [
            rax,
            rcx,
            rdx,
            rbx,
            bits,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            ..,
        ] = self.registers;
        let registers = &mut state.registers;
        (registers.rax, registers.rcx, registers.rdx, registers.rbx) = (rax, rcx, rdx, rbx);
        (registers.rbp, registers.rsi, registers.rdi, registers.r8) = (rbp, rsi, rdi, r8);
        (registers.r9, registers.r10, registers.r11) = (r9, r10, r11);
        registers.rsp = DATA + 0x800;
        registers.rip = CODE + (bits >> 48 & 0xfff);
        registers.rflags = 2 | bits & 0x15_0dd5;
        let special = &mut state.special;
        special.cr0 = 1 << 31 | 1 | bits >> 24 & 0x2e | (bits >> 30 & 1) << 16;
        special.cr3 = TABLES;
        special.cr4 = bits >> 20 & 0x75_1200;
        special.efer = 1 << 10 | bits >> 32 & 0x4801;
        special.cs.l = bits >> 47 & 1 == 0;
        special.cs.selector = if bits >> 46 & 1 == 0 { 0x10 } else { 0x33 };
        special.gs.base = DATA;
        state
    }

    /// Tables, then pokes of the input into all of RAM.
    fn ram(&mut self) -> Ram {
        let ram = Ram(RefCell::new(vec![0; RAM]));
        let put = |at: u64, value: u64| ram.write(at, &value.to_le_bytes()).unwrap();
        for level in 0..3 {
            let next = TABLES + (level + 1) * 0x1000;
            put(TABLES + level * 0x1000, next | 7);
        }
        for page in 0..16 {
            put(TABLES + 0x3000 + page * 8, page << 12 | 3);
        }
        let (count, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        for _ in 0..count % 16 {
            let Some((poke, rest)) = self.rest.split_at_checked(10) else {
                break;
            };
            let at = u16::from_le_bytes([poke[0], poke[1]]);
            let _outside_at_the_end = ram.write(at.into(), &poke[2..]);
            self.rest = rest;
        }
        ram
    }
}

/// Leaf 0DH as on CPUs with AVX-512 and PKRU.
fn cpuid() -> Vec<CpuidEntry> {
    let leaves = [
        (0, 0x2e7, 0),
        (2, 256, 576),
        (5, 64, 1088),
        (6, 512, 1152),
        (7, 1024, 1664),
        (9, 8, 2688),
    ];
    leaves
        .map(|(index, eax, ebx)| CpuidEntry {
            function: 0xd,
            index,
            significant_index: true,
            eax,
            ebx,
            ..CpuidEntry::default()
        })
        .to_vec()
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let Some(mut input) = Input::parse(bytes) else {
        return;
    };
    let mut state = input.state();
    let ram = input.ram();
    let code = &input.rest[..input.rest.len().min(15)];
    let given = if input.registers[12] & 1 == 0 {
        code
    } else {
        &[]
    };
    let _outside_at_the_end = ram.write(state.registers.rip, code);
    let data = &input.rest[code.len()..];
    let _longer_than_ram = ram.write(DATA, &data[..data.len().min(0x1000)]);
    let mut extended = Extended {
        area: XsaveArea::default(),
        xcr0: input.registers[13] & 0x2e7 | 1,
        msr: input.registers[14],
    };
    extended.area.set_xstate_bv(input.registers[15]);

    let before = state;
    let outcome = Emulator::new(&cpuid()).complete(&mut state, &ram, &mut extended, given);

    match outcome {
        Ok(Completion::Done(done) | Completion::Stepped(done)) if jumps(done) => {}
        Ok(Completion::Done(_) | Completion::Stepped(_)) => {
            let length = state.registers.rip.wrapping_sub(before.registers.rip);
            assert!((1..=15).contains(&length), "{length} bytes");
        }
        Ok(Completion::Fault(exception)) if [1, 3].contains(&exception.vector) => {}
        Ok(Completion::Fault(_)) => assert_eq!(state.registers, before.registers),
        Err(error) => {
            assert_eq!(state, before);
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Whether RIP goes elsewhere than to the next instruction.
fn jumps(done: Completed) -> bool {
    matches!(
        done,
        Completed::Sysret
            | Completed::Sysretq
            | Completed::Sysenter
            | Completed::Sysexit
            | Completed::Sysexitq
            | Completed::Int
    )
}
