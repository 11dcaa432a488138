//! The walk itself (Intel SDM vol. 3, 4.5): entries, their reserved bits, accessed and dirty bits.

use crate::{CpuState, PhysicalMemory, spec};

/// An entry is there.
pub(crate) const ENTRY_PRESENT: u64 = 1 << 0;
/// Writes are allowed.
pub(crate) const ENTRY_WRITABLE: u64 = 1 << 1;
/// User accesses are allowed.
pub(crate) const ENTRY_USER: u64 = 1 << 2;
/// The entry was used.
pub(crate) const ENTRY_ACCESSED: u64 = 1 << 5;
/// The page was written.
pub(crate) const ENTRY_DIRTY: u64 = 1 << 6;
/// The entry maps a page of 2 MiB or 1 GiB.
pub(crate) const ENTRY_LARGE: u64 = 1 << 7;
/// Nothing of the page is executed.
pub(crate) const ENTRY_NO_EXECUTE: u64 = 1 << 63;

/// Bits 51:12: where the next table or the page is.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The tables of one address space, and what may be in them.
pub(crate) struct Tables {
    root: u64,
    levels: u32,
    /// Bits that no entry may have: those between MAXPHYADDR and 51, bit 63 without EFER.NXE.
    reserved: u64,
}

/// The page of a linear address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// The guest-physical address of the byte, not only of the page.
    pub(crate) physical: u64,
    /// All entries allow writes.
    pub(crate) writable: bool,
    /// All entries allow user accesses.
    pub(crate) user: bool,
    /// Some entry forbids execution.
    pub(crate) no_execute: bool,
    /// The protection key (4.6.2).
    pub(crate) key: u8,
    /// Address and value of each entry, top first.
    steps: [(u64, u64); 5],
    depth: usize,
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkStop {
    /// An entry is not present.
    Absent,
    /// An entry has a reserved bit.
    Reserved,
    /// A table is not in RAM.
    NotRam { address: u64 },
}

impl Tables {
    /// The tables that CR3 points to, on a CPU with so many physical address bits.
    pub(crate) fn of(state: &CpuState, physical_bits: u32) -> Self {
        let special = &state.special;
        let too_high = ADDRESS & u64::MAX.checked_shl(physical_bits).unwrap_or(0);
        let no_execute = if special.efer & spec::EFER_NXE == 0 {
            ENTRY_NO_EXECUTE
        } else {
            0
        };
        Self {
            root: special.cr3 & ADDRESS,
            levels: if state.has_five_levels() { 5 } else { 4 },
            reserved: too_high | no_execute,
        }
    }

    /// Finds the page of `linear`, whatever the access; changes nothing.
    pub(crate) fn walk(&self, memory: &impl PhysicalMemory, linear: u64) -> Result<Walk, WalkStop> {
        let mut walk = Walk::start();
        let mut table = self.root;
        let mut level = self.levels;
        loop {
            let shift = 12 + 9 * (level - 1);
            let address = table + (linear >> shift & 0x1ff) * 8;
            let mut bytes = [0; 8];
            memory
                .read(address, &mut bytes)
                .map_err(|_| WalkStop::NotRam { address })?;
            let entry = u64::from_le_bytes(bytes);
            if entry & ENTRY_PRESENT == 0 {
                return Err(WalkStop::Absent);
            }
            if entry & (self.reserved | reserved_of_level(level, entry)) != 0 {
                return Err(WalkStop::Reserved);
            }
            walk.pass(address, entry);
            if level == 1 || entry & ENTRY_LARGE != 0 {
                let inside = (1 << shift) - 1;
                walk.physical = entry & ADDRESS & !inside | linear & inside;
                walk.key = (entry >> 59 & 0xf) as u8;
                return Ok(walk);
            }
            table = entry & ADDRESS;
            level -= 1;
        }
    }
}

/// Reserved bits by level: PS above the page-directory-pointer table, and in an entry that maps a
/// large page its address bits below the page's size, of which bit 12 is PAT (Intel SDM vol. 3,
/// tables 4-14 to 4-20).
fn reserved_of_level(level: u32, entry: u64) -> u64 {
    match level {
        4 | 5 => ENTRY_LARGE,
        3 if entry & ENTRY_LARGE != 0 => 0x3fff_e000,
        2 if entry & ENTRY_LARGE != 0 => 0x001f_e000,
        _ => 0,
    }
}

impl Walk {
    fn start() -> Self {
        Self {
            physical: 0,
            writable: true,
            user: true,
            no_execute: false,
            key: 0,
            steps: [(0, 0); 5],
            depth: 0,
        }
    }

    fn pass(&mut self, address: u64, entry: u64) {
        self.writable &= entry & ENTRY_WRITABLE != 0;
        self.user &= entry & ENTRY_USER != 0;
        self.no_execute |= entry & ENTRY_NO_EXECUTE != 0;
        if let Some(step) = self.steps.get_mut(self.depth) {
            *step = (address, entry);
        }
        self.depth += 1;
    }

    /// Sets the accessed bit of each entry, and the dirty bit of the last one if the page is
    /// written (4.8). `Ok(false)` where an entry is no longer what the walk saw: walk again.
    /// `Err` is the address of an entry that is not in RAM.
    pub(crate) fn mark(&self, memory: &impl PhysicalMemory, writes: bool) -> Result<bool, u64> {
        for (number, &(address, entry)) in self.steps.iter().take(self.depth).enumerate() {
            let mut marked = entry | ENTRY_ACCESSED;
            if writes && number + 1 == self.depth {
                marked |= ENTRY_DIRTY;
            }
            if marked == entry {
                continue;
            }
            let seen = memory
                .compare_exchange_u64(address, entry, marked)
                .map_err(|_| address)?;
            if seen != entry {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
