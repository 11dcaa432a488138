//! A guest of one vCPU: RAM, page tables, and extended state that the test holds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses some of it, and none all")]

use std::convert::Infallible;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_x86_emulator::{Completion, CpuState, Emulator, ExtendedState, NotCompleted, XsaveArea};

/// Where the code is, linear.
pub(crate) const CODE: u64 = 0x40_0000;
/// Two consecutive pages for data, linear. Physically they are far apart.
pub(crate) const DATA: u64 = 0x50_0000;
/// The second of them.
pub(crate) const DATA_2: u64 = DATA + 0x1000;
/// Where they are in RAM.
pub(crate) const CODE_PHYSICAL: u64 = 0x1_0000;
/// See [`CODE_PHYSICAL`].
pub(crate) const DATA_PHYSICAL: u64 = 0x2_0000;
/// See [`CODE_PHYSICAL`].
pub(crate) const DATA_2_PHYSICAL: u64 = 0x3_0000;
/// The top page table; the others follow.
pub(crate) const TABLES: u64 = 0x8_0000;
/// Bytes of RAM.
pub(crate) const RAM: u64 = 1 << 20;

pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITABLE: u64 = 2;
pub(crate) const USER: u64 = 4;
pub(crate) const ACCESSED: u64 = 1 << 5;
pub(crate) const DIRTY: u64 = 1 << 6;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
/// Supervisor data.
pub(crate) const KERNEL: u64 = PRESENT | WRITABLE;

pub(crate) const CR0_MP: u64 = 1 << 1;
pub(crate) const CR0_EM: u64 = 1 << 2;
pub(crate) const CR0_TS: u64 = 1 << 3;
pub(crate) const CR0_NE: u64 = 1 << 5;
pub(crate) const CR0_WP: u64 = 1 << 16;
pub(crate) const CR4_OSFXSR: u64 = 1 << 9;
pub(crate) const CR4_LA57: u64 = 1 << 12;
pub(crate) const CR4_FSGSBASE: u64 = 1 << 16;
pub(crate) const CR4_OSXSAVE: u64 = 1 << 18;
pub(crate) const CR4_SMEP: u64 = 1 << 20;
pub(crate) const CR4_SMAP: u64 = 1 << 21;
pub(crate) const CR4_PKE: u64 = 1 << 22;
pub(crate) const EFER_NXE: u64 = 1 << 11;

pub(crate) const CF: u64 = 1;
pub(crate) const ZF: u64 = 1 << 6;
pub(crate) const TF: u64 = 1 << 8;
pub(crate) const RF: u64 = 1 << 16;
pub(crate) const AC: u64 = 1 << 18;
/// CF, PF, AF, ZF, SF, OF.
pub(crate) const ARITHMETIC: u64 = 0x8d5;

/// The result of an instruction.
pub(crate) type Outcome = Result<Completion, NotCompleted<Infallible>>;

/// Extended state, with a count of how often it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Extended {
    pub(crate) area: XsaveArea,
    pub(crate) xcr0: u64,
    pub(crate) xss: u64,
    /// IA32_SYSENTER_CS, _ESP and _EIP.
    pub(crate) sysenter: [u64; 3],
    pub(crate) star: u64,
    pub(crate) tsc_aux: u64,
    pub(crate) loads: u32,
    pub(crate) stores: u32,
}

impl ExtendedState for Extended {
    type Error = Infallible;

    fn load(&mut self) -> Result<XsaveArea, Infallible> {
        self.loads += 1;
        Ok(self.area.clone())
    }

    fn store(&mut self, area: &XsaveArea) -> Result<(), Infallible> {
        self.stores += 1;
        self.area = area.clone();
        Ok(())
    }

    fn xcr0(&mut self) -> Result<u64, Infallible> {
        Ok(self.xcr0)
    }

    fn set_xcr0(&mut self, value: u64) -> Result<(), Infallible> {
        self.xcr0 = value;
        Ok(())
    }

    fn msr(&mut self, index: u32) -> Result<u64, Infallible> {
        Ok(match index {
            0x174 => self.sysenter[0],
            0x175 => self.sysenter[1],
            0x176 => self.sysenter[2],
            0xda0 => self.xss,
            0xc000_0081 => self.star,
            0xc000_0103 => self.tsc_aux,
            _ => u64::MAX,
        })
    }
}

pub(crate) struct Guest {
    pub(crate) ram: GuestRam,
    pub(crate) state: CpuState,
    pub(crate) extended: Extended,
    pub(crate) emulator: Emulator,
    next_table: u64,
    later: Vec<(u64, u64)>,
}

impl Guest {
    /// Ring 0 of 64-bit mode, all features on, code and two pages of data mapped.
    pub(crate) fn new() -> Self {
        Self::with_cpuid(&cpuid())
    }

    pub(crate) fn with_cpuid(cpuid: &[CpuidEntry]) -> Self {
        let config = RamConfig {
            size: RamSize::new(RAM).unwrap(),
            ..RamConfig::default()
        };
        let mut state = CpuState::default();
        state.special.cr0 = 1 << 31 | CR0_WP | CR0_NE | CR0_MP | 1;
        state.special.cr3 = TABLES;
        state.special.cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE | 1 << 5;
        state.special.efer = EFER_NXE | 1 << 10 | 1 << 8 | 1;
        state.special.cs.l = true;
        state.special.cs.selector = 0x10;
        state.registers.rip = CODE;
        state.registers.rflags = 2;
        let mut guest = Self {
            ram: GuestRam::new(&config).unwrap(),
            state,
            extended: Extended {
                area: XsaveArea::default(),
                xcr0: 0x2e7,
                xss: 0,
                sysenter: [0x10, 0xffff_8000_0000_7000, 0xffff_8000_0000_1000],
                star: 0x0023_0010_0000_0000,
                tsc_aux: 0,
                loads: 0,
                stores: 0,
            },
            emulator: Emulator::new(cpuid),
            next_table: TABLES + 0x1000,
            later: Vec::new(),
        };
        guest.map(CODE, CODE_PHYSICAL | PRESENT);
        guest.map(DATA, DATA_PHYSICAL | KERNEL | NO_EXECUTE);
        guest.map(DATA_2, DATA_2_PHYSICAL | KERNEL | NO_EXECUTE);
        guest
    }

    /// Makes `entry` the lowest entry of `linear`. Entries above allow all.
    pub(crate) fn map(&mut self, linear: u64, entry: u64) {
        let at = self.entry(linear, 1);
        self.write(at, entry);
    }

    /// The physical address of the entry of `level` (1 the lowest) for `linear`; tables above are
    /// made where they are not.
    pub(crate) fn entry(&mut self, linear: u64, level: u32) -> u64 {
        let levels = if self.state.special.cr4 & CR4_LA57 == 0 {
            4
        } else {
            5
        };
        let mut table = self.state.special.cr3;
        for above in (level + 1..=levels).rev() {
            let at = table + (linear >> (3 + 9 * above) & 0x1ff) * 8;
            let mut entry = self.read(at);
            if entry & PRESENT == 0 {
                entry = self.next_table | PRESENT | WRITABLE | USER;
                self.next_table += 0x1000;
                self.write(at, entry);
            }
            table = entry & 0x000f_ffff_ffff_f000;
        }
        table + (linear >> (3 + 9 * level) & 0x1ff) * 8
    }

    /// Writes at the next [`now`](Self::now), so that tables can be found until then.
    pub(crate) fn later(&mut self, physical: u64, value: u64) {
        self.later.push((physical, value));
    }

    pub(crate) fn now(&mut self) {
        for (physical, value) in std::mem::take(&mut self.later) {
            self.write(physical, value);
        }
    }

    /// The lowest entry of `linear`.
    pub(crate) fn entry_of(&mut self, linear: u64) -> u64 {
        let at = self.entry(linear, 1);
        self.read(at)
    }

    /// Runs an instruction whose bytes the hypervisor gave.
    pub(crate) fn run(&mut self, code: &[u8]) -> Outcome {
        self.emulator
            .complete(&mut self.state, &self.ram, &mut self.extended, code)
    }

    /// The 8 bytes at a physical address.
    pub(crate) fn read(&self, physical: u64) -> u64 {
        self.ram.read(GuestAddress(physical)).unwrap()
    }

    pub(crate) fn write(&self, physical: u64, value: u64) {
        self.ram.write(GuestAddress(physical), value).unwrap();
    }

    pub(crate) fn read_bytes(&self, physical: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram
            .read_bytes(GuestAddress(physical), &mut bytes)
            .unwrap();
        bytes
    }

    pub(crate) fn write_bytes(&self, physical: u64, bytes: &[u8]) {
        self.ram.write_bytes(GuestAddress(physical), bytes).unwrap();
    }

    /// Ring 3 instead of ring 0.
    pub(crate) fn drop_to_user(&mut self) {
        self.state.special.cs.selector = 0x33;
    }
}

/// Leaves of an Intel server CPU: x87, SSE, AVX, AVX-512 and PKRU, and 46 physical address bits.
pub(crate) fn cpuid() -> Vec<CpuidEntry> {
    let leaf = |function, index, eax, ebx, ecx| CpuidEntry {
        function,
        index,
        significant_index: function == 0xd,
        eax,
        ebx,
        ecx,
        edx: 0,
    };
    vec![
        leaf(0xd, 0, 0x2e7, 0xa88, 0xa88),
        leaf(0xd, 1, 0xf, 0xa88, 0),
        leaf(0xd, 2, 0x100, 0x240, 0),
        leaf(0xd, 5, 0x40, 0x440, 0),
        leaf(0xd, 6, 0x200, 0x480, 0),
        leaf(0xd, 7, 0x400, 0x680, 0),
        leaf(0xd, 9, 8, 0xa80, 0),
        leaf(0x8000_0008, 0, 0x30_2e, 0, 0),
    ]
}
