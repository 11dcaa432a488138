//! How linear addresses are translated, and how that fails.
mod guest;
#[path = "paging/model.rs"]
mod model;

use guest::*;
use vmmkit_guest_memory::GuestRam;
use vmmkit_x86_emulator::{
    Completed, Completion, CpuState, Emulator, Exception, NotCompleted, NotRam, PhysicalMemory,
};

/// POPCNT RAX, [RDI]: reads.
const READ: [u8; 5] = [0xf3, 0x48, 0x0f, 0xb8, 0x07];
/// CMPXCHG16B [RDI]: writes.
const WRITE: [u8; 4] = [0x48, 0x0f, 0xc7, 0x0f];
/// XSAVE64 [RDI]
const XSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x27];
const LFENCE: [u8; 3] = [0x0f, 0xae, 0xe8];

const NOT_PRESENT_READ: u32 = 0;
const W: u32 = 2;
const U: u32 = 4;
const RSVD: u32 = 8;
const I: u32 = 16;
const PK: u32 = 32;
const P: u32 = 1;

fn page_fault(code: u32) -> Outcome {
    Ok(Completion::Fault(Exception::page_fault(code)))
}

fn done(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Completion::Done(_)))
}

fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rdi = DATA;
    guest
}

/// Changes the entry of `level` for the data.
fn change(guest: &mut Guest, level: u32, change: impl Fn(u64) -> u64) {
    let at = guest.entry(DATA, level);
    let entry = guest.read(at);
    guest.write(at, change(entry));
}

#[test]
fn an_absent_page_faults_with_its_address_in_cr2() {
    let mut guest = guest();
    guest.state.registers.rdi = DATA_2 + 0x1238;
    let before = guest.state;
    assert_eq!(guest.run(&READ), page_fault(NOT_PRESENT_READ));
    assert_eq!(guest.state.special.cr2, DATA_2 + 0x1238);
    assert_eq!(guest.state.registers, before.registers);
    guest.state.registers.rdi = DATA_2 + 0x1230;
    assert_eq!(guest.run(&WRITE), page_fault(W));
}

#[test]
fn each_level_may_be_absent() {
    for level in 1..=4 {
        let mut guest = guest();
        change(&mut guest, level, |entry| entry & !PRESENT);
        assert_eq!(guest.run(&READ), page_fault(0), "level {level}");
    }
}

#[test]
fn cr2_of_an_access_that_crosses_is_the_page_that_is_absent() {
    let mut guest = guest();
    guest.map(DATA_2, 0);
    guest.state.registers.rdi = DATA_2 - 4;
    assert_eq!(guest.run(&READ), page_fault(0));
    assert_eq!(guest.state.special.cr2, DATA_2);
}

#[test]
fn nothing_is_written_or_marked_where_the_second_page_faults() {
    let mut guest = guest();
    guest.map(DATA_2, DATA_2_PHYSICAL | PRESENT);
    guest.state.registers.rdi = DATA_2 - 512;
    (guest.state.registers.rax, guest.state.registers.rdx) = (7, 0);
    guest.write_bytes(DATA_PHYSICAL, &[0xaa; 4096]);
    assert_eq!(guest.run(&XSAVE64), page_fault(P | W));
    assert_eq!(guest.state.special.cr2, DATA_2);
    assert_eq!(guest.read_bytes(DATA_PHYSICAL, 4096), [0xaa; 4096]);
    assert_eq!(guest.entry_of(DATA) & (ACCESSED | DIRTY), 0);
}

#[test]
fn nothing_is_written_where_the_second_page_is_not_ram() {
    let fxsave64 = [0x48, 0x0f, 0xae, 0x07];
    let movups = [0x0f, 0x11, 0x0f];
    for (code, before) in [(&XSAVE64[..], 512), (&fxsave64, 256), (&movups, 8)] {
        let mut guest = guest();
        guest.map(DATA_2, 0xfee0_0000 | KERNEL);
        guest.state.registers.rdi = DATA_2 - before;
        guest.state.registers.rax = 7;
        guest.write_bytes(DATA_PHYSICAL, &[0xaa; 4096]);
        let refused = NotCompleted::NotRam {
            address: 0xfee0_0000,
        };
        assert_eq!(guest.run(code), Err(refused));
        assert_eq!(guest.read_bytes(DATA_PHYSICAL, 4096), [0xaa; 4096]);
    }
}

#[test]
fn accessed_is_set_at_each_level_and_dirty_at_the_last_of_a_write() {
    let mut guest = guest();
    assert!(done(&guest.run(&READ)));
    for level in 1..=4 {
        let at = guest.entry(DATA, level);
        assert_eq!(
            guest.read(at) & (ACCESSED | DIRTY),
            ACCESSED,
            "level {level}"
        );
    }
    assert!(done(&guest.run(&WRITE)));
    assert_eq!(guest.entry_of(DATA) & DIRTY, DIRTY);
    let above = guest.entry(DATA, 2);
    assert_eq!(guest.read(above) & DIRTY, 0);
}

#[test]
fn large_pages_are_found() {
    for (level, size) in [(2, 2_u64 << 20), (3, 1 << 30)] {
        let mut guest = guest();
        // RAM is smaller than such a page: it is at the page's beginning.
        let linear = 7_u64 << 39;
        let at = guest.entry(linear, level);
        guest.write(at, KERNEL | 1 << 7);
        guest.write(0x6_0008, 0xff);
        guest.state.registers.rdi = linear + 0x6_0008;
        assert!(done(&guest.run(&READ)));
        assert_eq!(guest.state.registers.rax, 8);
        guest.state.registers.rdi = linear + size - 8;
        assert_eq!(
            guest.run(&READ),
            Err(NotCompleted::NotRam { address: size - 8 })
        );
    }
}

#[test]
fn five_levels_are_walked_with_la57() {
    let mut guest = guest();
    guest.state.special.cr4 |= CR4_LA57;
    guest.state.special.cr3 = 0x7_0000;
    let linear = 0x00ab_0000_0000_0000 | DATA;
    guest.map(linear, DATA_PHYSICAL | KERNEL);
    guest.write(DATA_PHYSICAL, 3);
    guest.state.registers.rdi = linear;
    assert!(done(&guest.run(&READ)));
    assert_eq!(guest.state.registers.rax, 2);
    guest.state.registers.rdi = 1 << 56;
    assert_eq!(
        guest.run(&READ),
        Ok(Completion::Fault(Exception::GENERAL_PROTECTION))
    );
}

#[test]
fn an_address_that_is_not_canonical_is_a_protection_or_a_stack_fault() {
    let mut guest = guest();
    let read_rbp = [0xf3, 0x48, 0x0f, 0xb8, 0x45, 0x00];
    for address in [1 << 47, 0xffff_7fff_ffff_ffff, (1 << 47) - 4] {
        guest.state.registers.rdi = address;
        guest.state.registers.rbp = address;
        assert_eq!(
            guest.run(&READ),
            Ok(Completion::Fault(Exception::GENERAL_PROTECTION))
        );
        assert_eq!(
            guest.run(&read_rbp),
            Ok(Completion::Fault(Exception::STACK))
        );
        let with_gs = [&[0x65][..], &read_rbp].concat();
        assert_eq!(
            guest.run(&with_gs),
            Ok(Completion::Fault(Exception::GENERAL_PROTECTION))
        );
    }
}

#[test]
fn reserved_bits_are_told() {
    type Change = fn(u64) -> u64;
    let changes: [(u32, Change); 6] = [
        (1, |entry| entry | 1 << 46),       // above MAXPHYADDR
        (4, |entry| entry | 1 << 51),       // likewise
        (4, |entry| entry | 1 << 7),        // no large page so high
        (3, |_| KERNEL | 1 << 7 | 1 << 13), // within a page of 1 GiB
        (2, |_| KERNEL | 1 << 7 | 1 << 20), // within a page of 2 MiB
        (2, |_| KERNEL | 1 << 7 | 1 << 13), // likewise
    ];
    for (level, reserve) in changes {
        let mut guest = guest();
        change(&mut guest, level, reserve);
        assert_eq!(guest.run(&WRITE), page_fault(P | W | RSVD));
    }
}

#[test]
fn no_execute_is_reserved_without_nxe() {
    let mut guest = guest();
    guest.state.special.efer &= !EFER_NXE;
    assert_eq!(guest.run(&READ), page_fault(P | RSVD));
}

#[test]
fn pat_of_a_large_page_is_no_address() {
    let mut guest = guest();
    let at = guest.entry(7 << 39, 2);
    guest.write(at, KERNEL | 1 << 7 | 1 << 12);
    guest.state.registers.rdi = 7 << 39;
    assert!(done(&guest.run(&READ)));
}

#[test]
fn a_table_that_is_not_ram_is_told() {
    let mut guest = guest();
    change(&mut guest, 3, |_| 0x8000_0000 | KERNEL);
    let address = 0x8000_0000 + (DATA >> 21 & 0x1ff) * 8;
    assert_eq!(guest.run(&READ), Err(NotCompleted::NotRam { address }));
}

#[test]
fn the_supervisor_writes_read_only_pages_without_wp() {
    let mut guest = guest();
    guest.map(DATA, DATA_PHYSICAL | PRESENT);
    assert_eq!(guest.run(&WRITE), page_fault(P | W));
    guest.state.special.cr0 &= !CR0_WP;
    assert!(done(&guest.run(&WRITE)));
}

#[test]
fn ring_3_needs_user_pages() {
    let mut guest = guest();
    guest.drop_to_user();
    assert_eq!(guest.run(&READ), page_fault(P | U));
    guest.map(DATA, DATA_PHYSICAL | PRESENT | USER);
    assert!(done(&guest.run(&READ)));
    assert_eq!(guest.run(&WRITE), page_fault(P | U | W));
}

#[test]
fn smap_holds_until_ac_is_set() {
    let mut guest = guest();
    guest.map(DATA, DATA_PHYSICAL | KERNEL | USER);
    assert!(done(&guest.run(&READ)));
    guest.state.special.cr4 |= CR4_SMAP;
    assert_eq!(guest.run(&READ), page_fault(P));
    assert_eq!(guest.run(&WRITE), page_fault(P | W));
    guest.state.registers.rflags |= AC;
    assert!(done(&guest.run(&READ)));
}

#[test]
fn protection_keys_bind_user_pages() {
    let mut guest = guest();
    guest.state.special.cr4 |= CR4_PKE;
    let key = 5_u64;
    guest.map(DATA, DATA_PHYSICAL | KERNEL | USER | key << 59);
    let set_pkru = |guest: &mut Guest, pkru: u32| {
        guest.extended.area.bytes_mut()[0xa80..0xa84].copy_from_slice(&pkru.to_le_bytes());
        guest.extended.area.set_xstate_bv(1 << 9);
    };
    assert!(done(&guest.run(&WRITE)));
    set_pkru(&mut guest, 2 << 10);
    assert!(done(&guest.run(&READ)));
    assert_eq!(guest.run(&WRITE), page_fault(P | W | PK));
    guest.state.special.cr0 &= !CR0_WP;
    assert!(done(&guest.run(&WRITE)));
    set_pkru(&mut guest, 1 << 10);
    assert_eq!(guest.run(&READ), page_fault(P | PK));
    guest.extended.area.set_xstate_bv(0); // PKRU is 0 then, whatever the bytes say
    assert!(done(&guest.run(&READ)));
}

#[test]
fn pkru_is_asked_for_only_where_a_key_matters() {
    let mut guest = guest();
    guest.state.special.cr4 |= CR4_PKE;
    assert!(done(&guest.run(&READ)));
    assert_eq!(guest.extended.loads, 0);
}

#[test]
fn an_instruction_is_fetched_where_its_bytes_are_not_given() {
    let mut guest = guest();
    guest.write_bytes(CODE_PHYSICAL, &LFENCE);
    assert_eq!(guest.run(&[]), Ok(Completion::Done(Completed::Lfence)));
    guest.state.registers.rip = CODE;
    assert_eq!(
        guest.run(&LFENCE[..2]),
        Ok(Completion::Done(Completed::Lfence))
    );
}

#[test]
fn a_fetch_crosses_a_page_only_where_the_instruction_does() {
    let mut guest = guest();
    guest.state.registers.rip = CODE + 0xffd;
    guest.write_bytes(CODE_PHYSICAL + 0xffd, &LFENCE);
    assert_eq!(guest.run(&[]), Ok(Completion::Done(Completed::Lfence)));

    guest.state.registers.rip = CODE + 0xffe;
    guest.write_bytes(CODE_PHYSICAL + 0xffe, &LFENCE[..2]);
    assert_eq!(guest.run(&[]), page_fault(I));
    assert_eq!(guest.state.special.cr2, CODE + 0x1000);
    guest.map(CODE + 0x1000, DATA_PHYSICAL | PRESENT);
    guest.write_bytes(DATA_PHYSICAL, &LFENCE[2..]);
    assert_eq!(guest.run(&[]), Ok(Completion::Done(Completed::Lfence)));
}

#[test]
fn fetches_obey_no_execute_and_smep() {
    let mut guest = guest();
    guest.write_bytes(CODE_PHYSICAL, &LFENCE);
    guest.map(CODE, CODE_PHYSICAL | PRESENT | NO_EXECUTE);
    assert_eq!(guest.run(&[]), page_fault(P | I));
    guest.map(CODE, CODE_PHYSICAL | PRESENT | USER);
    assert!(done(&guest.run(&[])));
    guest.state.registers.rip = CODE;
    guest.state.special.cr4 |= CR4_SMEP;
    assert_eq!(guest.run(&[]), page_fault(P | I));
}

#[test]
fn a_fetch_is_not_told_where_none_can_be_forbidden() {
    let mut guest = guest();
    guest.map(CODE, 0);
    guest.map(DATA, 0);
    guest.state.special.efer &= !EFER_NXE;
    assert_eq!(guest.run(&[]), page_fault(0));
}

/// RAM whose page tables another vCPU changes each time somebody looks.
struct Restless<'a>(&'a GuestRam);

impl PhysicalMemory for Restless<'_> {
    fn read(&self, physical: u64, bytes: &mut [u8]) -> Result<(), NotRam> {
        PhysicalMemory::read(self.0, physical, bytes)
    }

    fn write(&self, physical: u64, bytes: &[u8]) -> Result<(), NotRam> {
        PhysicalMemory::write(self.0, physical, bytes)
    }

    fn compare_exchange_u64(&self, _: u64, expected: u64, _: u64) -> Result<u64, NotRam> {
        Ok(expected ^ 1 << 9)
    }

    fn compare_exchange_u128(&self, _: u64, expected: u128, _: u128) -> Result<u128, NotRam> {
        Ok(expected)
    }
}

#[test]
fn a_walk_ends_though_the_tables_never_settle() {
    let Guest {
        ram,
        mut state,
        mut extended,
        emulator,
        ..
    } = guest();
    let outcome = emulator.complete(&mut state, &Restless(&ram), &mut extended, &READ);
    assert_eq!(outcome, Err(NotCompleted::Unsettled { linear: DATA }));
}

#[test]
fn an_entry_that_changes_once_is_walked_again() {
    use std::cell::Cell;

    /// The first exchange finds the entry changed by somebody else, to another page.
    struct Once<'a>(&'a GuestRam, Cell<bool>, u64);
    impl PhysicalMemory for Once<'_> {
        fn read(&self, physical: u64, bytes: &mut [u8]) -> Result<(), NotRam> {
            PhysicalMemory::read(self.0, physical, bytes)
        }
        fn write(&self, physical: u64, bytes: &[u8]) -> Result<(), NotRam> {
            PhysicalMemory::write(self.0, physical, bytes)
        }
        fn compare_exchange_u64(&self, at: u64, expected: u64, new: u64) -> Result<u64, NotRam> {
            if at == self.2 && self.1.replace(false) {
                let moved = DATA_2_PHYSICAL | KERNEL;
                PhysicalMemory::write(self.0, at, &moved.to_le_bytes())?;
            }
            PhysicalMemory::compare_exchange_u64(self.0, at, expected, new)
        }
        fn compare_exchange_u128(&self, _: u64, _: u128, _: u128) -> Result<u128, NotRam> {
            Err(NotRam)
        }
    }

    let mut guest = guest();
    guest.write(DATA_2_PHYSICAL, 0xff);
    let entry = guest.entry(DATA, 1);
    let memory = Once(&guest.ram, Cell::new(true), entry);
    let mut state: CpuState = guest.state;
    let emulator: Emulator = guest.emulator.clone();
    let outcome = emulator.complete(&mut state, &memory, &mut guest.extended, &READ);
    assert!(done(&outcome));
    assert_eq!(state.registers.rax, 8);
}
