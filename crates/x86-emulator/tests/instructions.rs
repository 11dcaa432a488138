//! The effect of each instruction, but for those of the XSAVE feature set.
mod guest;

use guest::*;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_x86_emulator::{Completed, Completion, Emulator, Exception, Mode, NotCompleted};

const DONE: fn(Completed) -> Outcome = |completed| Ok(Completion::Done(completed));
const FAULT: fn(Exception) -> Outcome = |exception| Ok(Completion::Fault(exception));

const CLAC: [u8; 3] = [0x0f, 0x01, 0xca];
const STAC: [u8; 3] = [0x0f, 0x01, 0xcb];
/// CMPXCHG16B [RDI]
const CMPXCHG16B: [u8; 4] = [0x48, 0x0f, 0xc7, 0x0f];
/// POPCNT RAX, [RDI]
const POPCNT: [u8; 5] = [0xf3, 0x48, 0x0f, 0xb8, 0x07];
const FWAIT: [u8; 1] = [0x9b];
const FNINIT: [u8; 2] = [0xdb, 0xe3];
const FNCLEX: [u8; 2] = [0xdb, 0xe2];
const FNSTSW_AX: [u8; 2] = [0xdf, 0xe0];
/// FLDCW [RDI]
const FLDCW: [u8; 2] = [0xd9, 0x2f];
/// FNSTCW [RDI]
const FNSTCW: [u8; 2] = [0xd9, 0x3f];
const EMMS: [u8; 2] = [0x0f, 0x77];
/// LDMXCSR [RDI]
const LDMXCSR: [u8; 3] = [0x0f, 0xae, 0x17];
/// STMXCSR [RDI]
const STMXCSR: [u8; 3] = [0x0f, 0xae, 0x1f];
const SYSRETQ: [u8; 3] = [0x48, 0x0f, 0x07];
const WRFSBASE_RAX: [u8; 5] = [0xf3, 0x48, 0x0f, 0xae, 0xd0];

/// A guest with RDI at the data.
fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rdi = DATA;
    guest
}

/// An unmasked division by zero is pending.
fn with_x87_error() -> Guest {
    let mut guest = guest();
    let bytes = guest.extended.area.bytes_mut();
    bytes[0..2].copy_from_slice(&0x37b_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&0x8084_u16.to_le_bytes());
    guest.extended.area.set_xstate_bv(1);
    guest
}

#[test]
fn clac_and_stac_change_ac_only_and_ask_for_nothing() {
    let mut guest = guest();
    let before = guest.state;
    assert_eq!(guest.run(&STAC), DONE(Completed::Stac));
    assert_eq!(guest.state.registers.rflags, 2 | AC);
    assert_eq!(guest.state.registers.rip, CODE + 3);
    assert_eq!(guest.run(&CLAC), DONE(Completed::Clac));
    guest.state.registers.rip = CODE;
    assert_eq!(guest.state, before);
    assert_eq!((guest.extended.loads, guest.extended.stores), (0, 0));
}

#[test]
fn clac_in_ring_3_is_an_invalid_opcode() {
    let mut guest = guest();
    guest.drop_to_user();
    let before = guest.state;
    assert_eq!(guest.run(&CLAC), FAULT(Exception::INVALID_OPCODE));
    assert_eq!(guest.state, before);
}

#[test]
fn int3_is_a_trap_with_rip_behind_it() {
    let mut guest = guest();
    assert_eq!(guest.run(&[0xcc]), FAULT(Exception::BREAKPOINT));
    assert_eq!(guest.state.registers.rip, CODE + 1);
}

#[test]
fn popcnt_counts_and_clears_the_arithmetic_flags() {
    let mut guest = guest();
    guest.state.registers.rflags |= ARITHMETIC;
    guest.write(DATA_PHYSICAL, 0xf0f0_0000_0000_0001);
    assert_eq!(guest.run(&POPCNT), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rax, 9);
    assert_eq!(guest.state.registers.rflags, 2);
}

#[test]
fn popcnt_of_zero_sets_zf() {
    let mut guest = guest();
    assert_eq!(guest.run(&POPCNT), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rflags, 2 | ZF);
}

#[test]
fn popcnt_of_32_bits_clears_the_upper_half_and_of_16_bits_nothing() {
    let mut guest = guest();
    guest.state.registers.rax = u64::MAX;
    guest.write(DATA_PHYSICAL, 0x1_0003);
    assert_eq!(
        guest.run(&[0x66, 0xf3, 0x0f, 0xb8, 0x07]),
        DONE(Completed::Popcnt)
    );
    assert_eq!(guest.state.registers.rax, 0xffff_ffff_ffff_0002);
    guest.state.registers.rip = CODE;
    assert_eq!(
        guest.run(&[0xf3, 0x0f, 0xb8, 0x07]),
        DONE(Completed::Popcnt)
    );
    assert_eq!(guest.state.registers.rax, 3);
}

#[test]
fn an_operand_may_cross_a_page() {
    let mut guest = guest();
    guest.state.registers.rdi = DATA_2 - 3;
    guest.write_bytes(DATA_PHYSICAL + 0xffd, &[1, 1, 1]);
    guest.write_bytes(DATA_2_PHYSICAL, &[1, 1, 1, 1, 1, 0xff]);
    assert_eq!(guest.run(&POPCNT), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rax, 8);
}

#[test]
fn fs_and_gs_add_their_base() {
    let mut guest = guest();
    guest.state.registers.rdi = 0x10;
    guest.state.special.gs.base = DATA;
    guest.state.special.fs.base = DATA_2;
    guest.write(DATA_PHYSICAL + 0x10, 7);
    guest.write(DATA_2_PHYSICAL + 0x10, 1);
    let with = |prefix| [&[prefix][..], &POPCNT].concat();
    assert_eq!(guest.run(&with(0x65)), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rax, 3);
    assert_eq!(guest.run(&with(0x64)), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rax, 1);
}

#[test]
fn an_address_of_32_bits_wraps_before_the_segment_base_is_added() {
    let mut guest = guest();
    guest.state.registers.rdi = 0xabcd_0000_ffff_fff8;
    guest.state.special.gs.base = DATA;
    guest.write(DATA_PHYSICAL + 8, 0xf);
    // POPCNT RAX, GS:[EDI+16]
    let code = [0x65, 0x67, 0xf3, 0x48, 0x0f, 0xb8, 0x47, 0x10];
    assert_eq!(guest.run(&code), DONE(Completed::Popcnt));
    assert_eq!(guest.state.registers.rax, 4);
}

#[test]
fn cmpxchg16b_stores_where_equal() {
    for prefix in [&[][..], &[0xf0]] {
        let mut guest = guest();
        guest.write(DATA_PHYSICAL, 1);
        guest.write(DATA_PHYSICAL + 8, 2);
        let registers = &mut guest.state.registers;
        (registers.rax, registers.rdx) = (1, 2);
        (registers.rbx, registers.rcx) = (3, 4);
        let code = [prefix, &CMPXCHG16B].concat();
        assert_eq!(guest.run(&code), DONE(Completed::Cmpxchg16b));
        assert_eq!(
            (guest.read(DATA_PHYSICAL), guest.read(DATA_PHYSICAL + 8)),
            (3, 4)
        );
        assert_eq!(guest.state.registers.rflags, 2 | ZF);
        assert_eq!(guest.state.registers.rip, CODE + code.len() as u64);
    }
}

#[test]
fn cmpxchg16b_loads_where_different() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL, 1);
    guest.write(DATA_PHYSICAL + 8, 2);
    guest.state.registers.rax = 1;
    guest.state.registers.rflags |= ARITHMETIC;
    assert_eq!(guest.run(&CMPXCHG16B), DONE(Completed::Cmpxchg16b));
    assert_eq!(
        (guest.state.registers.rax, guest.state.registers.rdx),
        (1, 2)
    );
    assert_eq!(guest.state.registers.rflags, 2 | ARITHMETIC & !ZF);
    assert_eq!(
        (guest.read(DATA_PHYSICAL), guest.read(DATA_PHYSICAL + 8)),
        (1, 2)
    );
}

#[test]
fn cmpxchg16b_of_an_odd_address_is_a_protection_fault() {
    let mut guest = guest();
    guest.state.registers.rdi += 8;
    assert_eq!(guest.run(&CMPXCHG16B), FAULT(Exception::GENERAL_PROTECTION));
    assert_eq!(guest.state.registers.rip, CODE);
}

#[test]
fn cmpxchg16b_needs_write_rights_also_where_different() {
    let mut guest = guest();
    guest.map(DATA, DATA_PHYSICAL | PRESENT);
    guest.state.registers.rax = 1;
    assert_eq!(guest.run(&CMPXCHG16B), FAULT(Exception::page_fault(3)));
    assert_eq!(guest.state.special.cr2, DATA);
}

#[test]
fn cmpxchg8b_works_on_halves_of_32_bits() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL, 0x22_0000_0011);
    let registers = &mut guest.state.registers;
    (registers.rax, registers.rdx) = (0xffff_0000_0000_0011, 0x22);
    (registers.rbx, registers.rcx) = (3, 4);
    let code = [0x0f, 0xc7, 0x0f];
    assert_eq!(guest.run(&code), DONE(Completed::Cmpxchg8b));
    assert_eq!(guest.read(DATA_PHYSICAL), 4 << 32 | 3);
    assert_eq!(guest.run(&code), DONE(Completed::Cmpxchg8b));
    assert_eq!(
        (guest.state.registers.rax, guest.state.registers.rdx),
        (3, 4)
    );
}

#[test]
fn a_cmpxchg8b_that_splits_is_not_completed() {
    let mut guest = guest();
    guest.state.registers.rdi += 4;
    let stop = guest.run(&[0x0f, 0xc7, 0x0f]).unwrap_err();
    assert!(matches!(stop, NotCompleted::Unsupported { .. }), "{stop}");
}

#[test]
fn fninit_keeps_the_registers_and_empties_them() {
    let mut guest = with_x87_error();
    guest.extended.area.bytes_mut()[4] = 0xff;
    guest.extended.area.bytes_mut()[8..24].fill(7);
    guest.extended.area.bytes_mut()[40] = 9;
    assert_eq!(guest.run(&FNINIT), DONE(Completed::Fninit));
    let area = &guest.extended.area;
    assert_eq!((area.fcw(), area.fsw()), (0x37f, 0));
    assert!(area.bytes()[4..24].iter().all(|byte| *byte == 0));
    assert_eq!(area.bytes()[40], 9);
    assert_eq!(area.xstate_bv(), 1);
}

#[test]
fn an_x87_in_its_initial_state_is_not_in_use() {
    let mut guest = with_x87_error();
    assert_eq!(guest.run(&FNINIT), DONE(Completed::Fninit));
    assert_eq!(guest.extended.area.xstate_bv(), 0);
}

#[test]
fn a_pending_x87_error_is_raised_by_waiting_instructions_only() {
    for code in [&FWAIT[..], &FLDCW, &EMMS] {
        let mut guest = with_x87_error();
        assert_eq!(guest.run(code), FAULT(Exception::X87), "{code:x?}");
        assert_eq!(guest.extended.stores, 0);
    }
    for code in [&FNSTCW[..], &FNSTSW_AX, &FNCLEX, &FNINIT] {
        let mut guest = with_x87_error();
        assert!(
            matches!(guest.run(code), Ok(Completion::Done(_))),
            "{code:x?}"
        );
    }
}

#[test]
fn fwait_without_an_error_does_nothing() {
    let mut guest = guest();
    assert_eq!(guest.run(&FWAIT), DONE(Completed::Wait));
    assert_eq!(guest.extended.stores, 0);
}

#[test]
fn fwait_obeys_ts_only_with_mp() {
    let mut guest = guest();
    guest.state.special.cr0 |= CR0_TS;
    assert_eq!(guest.run(&FWAIT), FAULT(Exception::DEVICE_NOT_AVAILABLE));
    guest.state.special.cr0 &= !CR0_MP;
    assert_eq!(guest.run(&FWAIT), DONE(Completed::Wait));
}

#[test]
fn fnclex_clears_errors_and_leaves_the_rest_of_the_status() {
    let mut guest = with_x87_error();
    guest.extended.area.bytes_mut()[2..4].copy_from_slice(&0xffff_u16.to_le_bytes());
    assert_eq!(guest.run(&FNCLEX), DONE(Completed::Fnclex));
    assert_eq!(guest.extended.area.fsw(), 0x7f00);
}

#[test]
fn fnstsw_and_fnstcw_tell_the_words() {
    let mut guest = with_x87_error();
    guest.state.registers.rax = u64::MAX;
    assert_eq!(guest.run(&FNSTSW_AX), DONE(Completed::Fnstsw));
    assert_eq!(guest.state.registers.rax, 0xffff_ffff_ffff_8084);
    assert_eq!(guest.run(&FNSTCW), DONE(Completed::Fnstcw));
    assert_eq!(guest.read(DATA_PHYSICAL), 0x37b);
    assert_eq!(guest.run(&[0xdd, 0x3f]), DONE(Completed::Fnstsw));
    assert_eq!(guest.read(DATA_PHYSICAL), 0x8084);
}

#[test]
fn fldcw_can_unmask_an_error_of_the_past() {
    let mut guest = with_x87_error();
    guest.extended.area.bytes_mut()[0] = 0x7f;
    guest.extended.area.bytes_mut()[2..4].copy_from_slice(&4_u16.to_le_bytes());
    guest.write(DATA_PHYSICAL, 0xe33b);
    assert_eq!(guest.run(&FLDCW), DONE(Completed::Fldcw));
    assert_eq!(guest.extended.area.fcw(), 0x37b & !0x40 | 0x40);
    assert_eq!(guest.extended.area.fsw(), 0x8084);
    assert_eq!(guest.run(&FWAIT), FAULT(Exception::X87));
}

#[test]
fn fldcw_can_mask_a_pending_error_that_nobody_is_told_of() {
    let mut guest = with_x87_error();
    guest.state.special.cr0 &= !CR0_NE;
    guest.write(DATA_PHYSICAL, 0x37f);
    assert_eq!(guest.run(&FLDCW), DONE(Completed::Fldcw));
    assert_eq!(guest.extended.area.fsw(), 4);
}

#[test]
fn emms_empties_the_registers() {
    let mut guest = guest();
    guest.extended.area.bytes_mut()[4] = 0xff;
    guest.extended.area.set_xstate_bv(1);
    assert_eq!(guest.run(&EMMS), DONE(Completed::Emms));
    assert_eq!(guest.extended.area.bytes()[4], 0);
}

#[test]
fn x87_instructions_of_an_absent_or_foreign_unit_are_refused() {
    for bit in [CR0_EM, CR0_TS] {
        for code in [&FNINIT[..], &FNCLEX, &FNSTCW, &FNSTSW_AX, &FLDCW] {
            let mut guest = guest();
            guest.state.special.cr0 |= bit;
            assert_eq!(guest.run(code), FAULT(Exception::DEVICE_NOT_AVAILABLE));
            assert_eq!(guest.extended.loads, 0);
        }
    }
}

#[test]
fn simd_instructions_are_invalid_with_em_and_not_available_with_ts() {
    for code in [&EMMS[..], &LDMXCSR, &STMXCSR, &[0x0f, 0xae, 0x07]] {
        let mut guest = guest();
        guest.state.special.cr0 |= CR0_TS;
        assert_eq!(guest.run(code), FAULT(Exception::DEVICE_NOT_AVAILABLE));
        guest.state.special.cr0 |= CR0_EM;
        assert_eq!(guest.run(code), FAULT(Exception::INVALID_OPCODE));
    }
}

#[test]
fn ldmxcsr_and_stmxcsr_move_it() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL, 0xffff_ffff_0000_9fc0);
    assert_eq!(guest.run(&LDMXCSR), DONE(Completed::Ldmxcsr));
    assert_eq!(guest.extended.area.mxcsr(), 0x9fc0);
    assert_eq!(
        guest.extended.area.xstate_bv(),
        2,
        "or the hypervisor would not take it"
    );
    guest.write(DATA_PHYSICAL, u64::MAX);
    assert_eq!(guest.run(&STMXCSR), DONE(Completed::Stmxcsr));
    assert_eq!(guest.read(DATA_PHYSICAL), 0xffff_ffff_0000_9fc0);
}

#[test]
fn ldmxcsr_refuses_reserved_bits() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL, 0x1_1f80);
    assert_eq!(guest.run(&LDMXCSR), FAULT(Exception::GENERAL_PROTECTION));
    guest.extended.area.bytes_mut()[28..32].fill(0); // an old CPU: no DAZ
    guest.write(DATA_PHYSICAL, 0x1fc0);
    assert_eq!(guest.run(&LDMXCSR), FAULT(Exception::GENERAL_PROTECTION));
    assert_eq!(guest.extended.stores, 0);
}

#[test]
fn sse_without_osfxsr_is_an_invalid_opcode() {
    let mut guest = guest();
    guest.state.special.cr4 &= !CR4_OSFXSR;
    assert_eq!(guest.run(&LDMXCSR), FAULT(Exception::INVALID_OPCODE));
    assert_eq!(guest.run(&STMXCSR), FAULT(Exception::INVALID_OPCODE));
}

#[test]
fn sysret_of_64_bits_goes_to_flat_ring_3() {
    let mut guest = guest();
    guest.state.registers.rcx = 0x7fff_1234_5678;
    guest.state.registers.r11 = 0x1_0247;
    assert_eq!(guest.run(&SYSRETQ), DONE(Completed::Sysretq));
    assert_eq!(guest.state.registers.rip, 0x7fff_1234_5678);
    assert_eq!(guest.state.registers.rflags, 0x247);
    let (cs, ss) = (guest.state.special.cs, guest.state.special.ss);
    assert_eq!((cs.selector, ss.selector), (0x33, 0x2b));
    assert_eq!((cs.kind, cs.dpl, cs.l, cs.db), (11, 3, true, false));
    assert_eq!((ss.kind, ss.dpl, ss.limit), (3, 3, u32::MAX));
}

#[test]
fn sysret_of_32_bits_goes_to_compatibility_mode() {
    let mut guest = guest();
    guest.state.registers.rcx = 0xffff_0000_1234_5678;
    assert_eq!(guest.run(&[0x0f, 0x07]), DONE(Completed::Sysret));
    assert_eq!(guest.state.registers.rip, 0x1234_5678);
    let cs = guest.state.special.cs;
    assert_eq!((cs.selector, cs.l, cs.db), (0x23, false, true));
    assert!(matches!(
        guest.run(&CLAC),
        Err(NotCompleted::NotLongMode {
            mode: Mode::Compatibility
        })
    ));
}

#[test]
fn sysret_checks_its_address_its_ring_and_sce() {
    let mut guest = guest();
    guest.state.registers.rcx = 1 << 47;
    assert_eq!(guest.run(&SYSRETQ), FAULT(Exception::GENERAL_PROTECTION));
    guest.state.registers.rcx = 0;
    guest.drop_to_user();
    assert_eq!(guest.run(&SYSRETQ), FAULT(Exception::GENERAL_PROTECTION));
    guest.state.special.efer &= !1;
    assert_eq!(guest.run(&SYSRETQ), FAULT(Exception::INVALID_OPCODE));
}

#[test]
fn sysenter_goes_to_ring_0_and_sysexit_back() {
    let mut guest = guest();
    guest.drop_to_user();
    guest.state.registers.rflags = 0x202;
    assert_eq!(guest.run(&[0x0f, 0x34]), DONE(Completed::Sysenter));
    let registers = guest.state.registers;
    let [_, rsp, rip] = guest.extended.sysenter;
    assert_eq!((registers.rsp, registers.rip), (rsp, rip));
    assert_eq!(registers.rflags, 2);
    let (cs, ss) = (guest.state.special.cs, guest.state.special.ss);
    assert_eq!((cs.selector, ss.selector), (0x10, 0x18));
    assert_eq!((cs.kind, cs.dpl, cs.l, cs.db), (11, 0, true, false));
    assert_eq!((ss.kind, ss.dpl, ss.limit), (3, 0, u32::MAX));

    let (rsp, rip) = (0x7fff_0000_1000, 0x7fff_1234_5678);
    let sysexitq = [0x48, 0x0f, 0x35];
    let mut guest = self::guest();
    guest.state.registers.rcx = rsp;
    guest.state.registers.rdx = rip;
    assert_eq!(guest.run(&sysexitq), DONE(Completed::Sysexitq));
    let registers = guest.state.registers;
    assert_eq!((registers.rsp, registers.rip), (rsp, rip));
    let (cs, ss) = (guest.state.special.cs, guest.state.special.ss);
    assert_eq!((cs.selector, ss.selector), (0x33, 0x3b));
    assert_eq!((cs.dpl, cs.l, ss.dpl), (3, true, 3));
    assert_eq!(guest.run(&sysexitq), FAULT(Exception::GENERAL_PROTECTION));

    let mut guest = self::guest();
    guest.state.registers.rdx = 1 << 47;
    assert_eq!(guest.run(&sysexitq), FAULT(Exception::GENERAL_PROTECTION));
    guest.state.registers.rdx = rip;
    assert_eq!(guest.run(&[0x0f, 0x35]), DONE(Completed::Sysexit));
    assert_eq!(guest.state.registers.rip, 0x1234_5678);
    let (cs, ss) = (guest.state.special.cs, guest.state.special.ss);
    assert_eq!((cs.selector, cs.l, ss.selector), (0x23, false, 0x2b));
}

#[test]
fn sysenter_without_a_selector_or_of_amd_is_refused() {
    let mut leaves = cpuid();
    leaves.push(CpuidEntry {
        ecx: u32::from_le_bytes(*b"cAMD"),
        ..CpuidEntry::default()
    });
    let mut amd = Guest::with_cpuid(&leaves);
    assert_eq!(amd.run(&[0x0f, 0x34]), FAULT(Exception::INVALID_OPCODE));
    assert_eq!(amd.run(&[0x0f, 0x35]), FAULT(Exception::INVALID_OPCODE));

    let mut guest = guest();
    guest.extended.sysenter[0] = 3;
    assert_eq!(
        guest.run(&[0x0f, 0x34]),
        FAULT(Exception::GENERAL_PROTECTION)
    );
    assert_eq!(
        guest.run(&[0x0f, 0x35]),
        FAULT(Exception::GENERAL_PROTECTION)
    );
}

#[test]
fn segment_bases_are_read_and_written() {
    let mut guest = guest();
    guest.state.registers.rax = 0x1234_5678_9abc;
    assert_eq!(guest.run(&WRFSBASE_RAX), DONE(Completed::Wrfsbase));
    assert_eq!(guest.state.special.fs.base, 0x1234_5678_9abc);
    // WRGSBASE EAX
    assert_eq!(
        guest.run(&[0xf3, 0x0f, 0xae, 0xd8]),
        DONE(Completed::Wrgsbase)
    );
    assert_eq!(guest.state.special.gs.base, 0x5678_9abc);
    // RDFSBASE RCX
    assert_eq!(
        guest.run(&[0xf3, 0x48, 0x0f, 0xae, 0xc1]),
        DONE(Completed::Rdfsbase)
    );
    assert_eq!(guest.state.registers.rcx, 0x1234_5678_9abc);
    // RDGSBASE R9D
    assert_eq!(
        guest.run(&[0xf3, 0x41, 0x0f, 0xae, 0xc9]),
        DONE(Completed::Rdgsbase)
    );
    assert_eq!(guest.state.registers.r9, 0x5678_9abc);
}

#[test]
fn segment_bases_need_fsgsbase_and_canonical_addresses() {
    let mut guest = guest();
    guest.state.registers.rax = 1 << 63;
    assert_eq!(
        guest.run(&WRFSBASE_RAX),
        FAULT(Exception::GENERAL_PROTECTION)
    );
    guest.state.special.cr4 &= !CR4_FSGSBASE;
    assert_eq!(guest.run(&WRFSBASE_RAX), FAULT(Exception::INVALID_OPCODE));
}

#[test]
fn rdpid_is_tsc_aux() {
    let mut guest = guest();
    guest.extended.tsc_aux = 0xffff_ffff_0000_0007;
    assert_eq!(guest.run(&[0xf3, 0x0f, 0xc7, 0xf8]), DONE(Completed::Rdpid));
    assert_eq!(guest.state.registers.rax, 7);
}

#[test]
fn flushes_check_their_address() {
    for (code, completed) in [
        (&[0x0f, 0xae, 0x3f][..], Completed::Clflush),
        (&[0x66, 0x0f, 0xae, 0x3f], Completed::Clflushopt),
        (&[0x66, 0x0f, 0xae, 0x37], Completed::Clwb),
    ] {
        let mut guest = guest();
        assert_eq!(guest.run(code), DONE(completed));
        guest.state.registers.rdi = DATA_2 + 0x1000;
        assert_eq!(guest.run(code), FAULT(Exception::page_fault(0)));
    }
}

#[test]
fn fences_do_nothing_else() {
    for (last, completed) in [
        (0xe8, Completed::Lfence),
        (0xf0, Completed::Mfence),
        (0xf8, Completed::Sfence),
    ] {
        let mut guest = guest();
        assert_eq!(guest.run(&[0x0f, 0xae, last]), DONE(completed));
        assert_eq!(guest.state.registers.rip, CODE + 3);
    }
}

#[test]
fn a_single_step_traps_after_the_instruction() {
    let mut guest = guest();
    guest.state.registers.rflags |= TF | RF;
    assert_eq!(guest.run(&STAC), Ok(Completion::Stepped(Completed::Stac)));
    assert_eq!(guest.state.registers.rip, CODE + 3);
    assert_eq!(guest.state.registers.rflags, 2 | TF | AC);
}

#[test]
fn completion_clears_rf_and_a_fault_keeps_it() {
    let mut guest = guest();
    guest.state.registers.rflags |= RF;
    guest.state.registers.rdi = 0;
    assert_eq!(guest.run(&POPCNT), FAULT(Exception::page_fault(0)));
    assert_eq!(guest.state.registers.rflags, 2 | RF);
    assert_eq!(guest.run(&STAC), DONE(Completed::Stac));
    assert_eq!(guest.state.registers.rflags, 2 | AC);
}

#[test]
fn what_is_neither_known_nor_offered_is_an_invalid_opcode() {
    // INVPCID RAX, [RDI]; RDPRU; VMXOFF; VPADDD XMM0, XMM1, XMM2; UD2; no instruction.
    for code in [
        &[0x66, 0x0f, 0x38, 0x82, 0x07][..],
        &[0x0f, 0x01, 0xfd],
        &[0x0f, 0x01, 0xc4],
        &[0xc5, 0xf1, 0xfe, 0xc2],
        &[0x0f, 0x0b],
        &[0x0f, 0x04, 0xc0],
    ] {
        let mut guest = guest();
        let before = guest.state;
        assert_eq!(
            guest.run(code),
            FAULT(Exception::INVALID_OPCODE),
            "{code:x?}"
        );
        assert_eq!(guest.state, before, "{code:x?}");
    }
}

#[test]
fn what_is_offered_and_not_known_is_named() {
    let mut leaves = cpuid();
    leaves.push(vmmkit_hypervisor::x86::CpuidEntry {
        function: 7,
        ebx: 1 << 10, // INVPCID
        ..Default::default()
    });
    let mut guest = Guest::with_cpuid(&leaves);
    let error = guest.run(&[0x66, 0x0f, 0x38, 0x82, 0x07]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("invpcid"), "{text}");
}

#[test]
fn an_invalid_opcode_is_one_outside_of_64_bit_mode_too() {
    for (cr0, db) in [(0, false), (1, true)] {
        let mut guest = guest();
        guest.state.special.cr0 = cr0;
        guest.state.special.cs.db = db;
        guest.state.special.cs.l = false;
        guest.state.special.efer = 0;
        let before = guest.state;
        for code in [&[0x0f, 0x0b][..], &[0x0f, 0x01, 0xfd]] {
            assert_eq!(guest.run(code), FAULT(Exception::INVALID_OPCODE));
        }
        assert_eq!(guest.state, before);
        // INT 21H, of which half is missing; whole.
        for code in [&[0xcd][..], &[0xcd, 0x21]] {
            let stop = guest.run(code).unwrap_err();
            assert!(matches!(stop, NotCompleted::NotLongMode { .. }), "{stop}");
        }
    }
}

#[test]
fn an_instruction_of_more_than_15_bytes_is_a_general_protection_fault() {
    let mut guest = guest();
    guest.write_bytes(CODE_PHYSICAL, &[0x66; 20]);
    assert_eq!(guest.run(&[]), FAULT(Exception::GENERAL_PROTECTION));
}

#[test]
fn an_unknown_instruction_is_named() {
    let mut guest = guest();
    let before = guest.state;
    let error = guest.run(&[0x66, 0x0f, 0xf4, 0xc1, 0x90]).unwrap_err();
    let NotCompleted::Unsupported { name, bytes } = error else {
        panic!("{error}");
    };
    assert_eq!(
        (name.as_str(), &bytes[..]),
        ("pmuludq xmm0,xmm1", &[0x66, 0x0f, 0xf4, 0xc1][..])
    );
    assert_eq!(guest.state, before);
}

#[test]
fn bytes_that_are_no_instruction_are_an_invalid_opcode() {
    // UD0 and a half; LOCK CLAC
    for code in [&[0x0f, 0xff, 0xff][..], &[0xf0, 0x0f, 0x01, 0xca]] {
        assert_eq!(guest().run(code), FAULT(Exception::INVALID_OPCODE));
    }
}

#[test]
fn only_64_bit_mode_is_completed() {
    type Change = fn(&mut Guest);
    let modes: [(Change, Mode); 4] = [
        (|guest| guest.state.special.cr0 = 0x10, Mode::Real),
        (
            |guest| guest.state.special.cs.l = false,
            Mode::Compatibility,
        ),
        (|guest| guest.state.special.efer = 0, Mode::Protected),
        (
            |guest| {
                guest.state.special.efer = 0;
                guest.state.registers.rflags |= 1 << 17;
            },
            Mode::Virtual8086,
        ),
    ];
    for (change, mode) in modes {
        let mut guest = guest();
        change(&mut guest);
        assert_eq!(guest.run(&CLAC), Err(NotCompleted::NotLongMode { mode }));
    }
}

#[test]
fn every_completion_has_a_number_and_a_name() {
    for (number, completed) in Completed::ALL.iter().enumerate() {
        assert_eq!(*completed as usize, number);
        assert!(!completed.name().is_empty());
    }
}

#[test]
fn an_emulator_needs_no_cpuid_for_plain_instructions() {
    let mut guest = guest();
    guest.emulator = Emulator::new(&[]);
    assert_eq!(guest.run(&POPCNT), DONE(Completed::Popcnt));
}
