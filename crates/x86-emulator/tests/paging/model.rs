//! Random tables and rights, against the manual's lists of what is allowed (Intel SDM vol. 3, 4.6
//! and 4.7) written down as such.

use proptest::prelude::*;
use vmmkit_x86_emulator::{Completion, Exception};

use super::*;

#[derive(Clone, Copy, Debug)]
struct Entry {
    present: bool,
    writable: bool,
    user: bool,
    no_execute: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mode {
    ring_3: bool,
    write_protect: bool,
    smep: bool,
    smap: bool,
    ac: bool,
    key: Option<(u8, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Fetch,
}

fn entry() -> impl Strategy<Value = Entry> {
    let often = || prop::bool::weighted(0.8);
    (
        prop::bool::weighted(0.95),
        often(),
        often(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(present, writable, user, no_execute)| Entry {
            present,
            writable,
            user,
            no_execute,
        })
}

fn mode() -> impl Strategy<Value = Mode> {
    let key = prop::option::of((0_u8..16, any::<u32>()));
    (any::<[bool; 5]>(), key).prop_map(|([ring_3, write_protect, smep, smap, ac], key)| Mode {
        ring_3,
        write_protect,
        smep,
        smap,
        ac,
        key,
    })
}

/// The error code, or `None` where the access is allowed.
fn expected(entries: &[Entry], mode: Mode, kind: Kind) -> Option<u32> {
    let mut code = 0;
    if kind == Kind::Write {
        code |= W;
    }
    if mode.ring_3 {
        code |= U;
    }
    if kind == Kind::Fetch {
        code |= I; // EFER.NXE is set
    }
    if entries.iter().any(|entry| !entry.present) {
        return Some(code);
    }
    let user_page = entries.iter().all(|entry| entry.user);
    let writable = entries.iter().all(|entry| entry.writable);
    let executable = entries.iter().all(|entry| !entry.no_execute);
    let allowed = match (mode.ring_3, user_page, kind) {
        (true, false, _) => false,
        (true, true, Kind::Read) => true,
        (true, true, Kind::Write) => writable,
        (_, true, Kind::Fetch) if !mode.ring_3 => executable && !mode.smep,
        (_, _, Kind::Fetch) => executable,
        (false, true, _) if mode.smap && !mode.ac => false,
        (false, _, Kind::Read) => true,
        (false, _, Kind::Write) => writable || !mode.write_protect,
    };
    if !allowed {
        return Some(code | P);
    }
    let (key, pkru) = mode.key?;
    if !user_page || kind == Kind::Fetch {
        return None;
    }
    let access_disabled = pkru >> (key * 2) & 1 == 1;
    let write_disabled = pkru >> (key * 2 + 1) & 1 == 1;
    let write_refused =
        kind == Kind::Write && write_disabled && (mode.ring_3 || mode.write_protect);
    (access_disabled || write_refused).then_some(code | P | PK)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rights_are_those_of_the_manual(
        entries in prop::array::uniform4(entry()),
        mode in mode(),
        kind in prop_oneof![Just(Kind::Read), Just(Kind::Write), Just(Kind::Fetch)],
    ) {
        let mut guest = guest();
        let linear = 0x1234_5678_9000_u64;
        guest.map(linear, DATA_PHYSICAL);
        for (level, entry) in (1..).zip(&entries) {
            let at = guest.entry(linear, level);
            let bits = [
                (entry.present, PRESENT),
                (entry.writable, WRITABLE),
                (entry.user, USER),
                (entry.no_execute, NO_EXECUTE),
                (level == 1, mode.key.map_or(0, |(key, _)| u64::from(key) << 59)),
            ];
            // The tables stay what they are until all are found.
            let bits: u64 = bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
            let address = guest.read(at) & 0x000f_ffff_ffff_f000;
            guest.later(at, address | bits);
        }
        guest.now();
        let special = &mut guest.state.special;
        if !mode.write_protect { special.cr0 &= !CR0_WP; }
        if mode.smep { special.cr4 |= CR4_SMEP; }
        if mode.smap { special.cr4 |= CR4_SMAP; }
        if mode.ac { guest.state.registers.rflags |= AC; }
        if mode.ring_3 { guest.drop_to_user(); }
        if let Some((_, pkru)) = mode.key {
            guest.state.special.cr4 |= CR4_PKE;
            guest.extended.area.bytes_mut()[0xa80..0xa84].copy_from_slice(&pkru.to_le_bytes());
            guest.extended.area.set_xstate_bv(1 << 9);
        }
        guest.write_bytes(DATA_PHYSICAL, &LFENCE);
        guest.state.registers.rdi = linear;
        let outcome = match kind {
            Kind::Read => guest.run(&READ),
            Kind::Write => guest.run(&WRITE),
            Kind::Fetch => {
                guest.state.registers.rip = linear;
                guest.run(&[])
            }
        };
        match expected(&entries, mode, kind) {
            None => prop_assert!(done(&outcome), "{:?}", outcome),
            Some(code) => {
                prop_assert_eq!(outcome, Ok(Completion::Fault(Exception::page_fault(code))));
                prop_assert_eq!(guest.state.special.cr2, linear);
            }
        }
    }

    #[test]
    fn a_page_is_where_its_entries_say(linear in 0_u64..1 << 47, physical in 0x10_u64..0x60) {
        let mut guest = guest();
        let linear = linear & !0xf;
        guest.map(linear, physical << 12 | KERNEL);
        let at = (physical << 12) + (linear & 0xfff);
        guest.write(at, 0x1f);
        guest.state.registers.rdi = linear;
        prop_assert!(done(&guest.run(&READ)));
        prop_assert_eq!(guest.state.registers.rax, 5);
        (guest.state.registers.rax, guest.state.registers.rbx) = (0x1f, 0xabcd);
        guest.state.registers.rdx = guest.read(at + 8);
        prop_assert!(done(&guest.run(&WRITE)));
        prop_assert_eq!(guest.read(at), 0xabcd);
    }
}
