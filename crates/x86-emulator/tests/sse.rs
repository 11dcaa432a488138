//! SSE in ring 0: what is refused. What it computes is in `native.rs`.

mod guest;

use guest::*;
use vmmkit_x86_emulator::{Completed, Completion, Exception, NotCompleted};

/// MOVAPS XMM1, [RDI]
const MOVAPS: [u8; 3] = [0x0f, 0x28, 0x0f];
/// MOVUPS [RDI], XMM1
const MOVUPS_STORE: [u8; 3] = [0x0f, 0x11, 0x0f];
/// PXOR XMM1, [RDI]
const PXOR: [u8; 4] = [0x66, 0x0f, 0xef, 0x0f];

fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rdi = DATA;
    guest.extended.area.bytes_mut()[176..192].fill(0x5a);
    guest.extended.area.set_xstate_bv(2);
    guest
}

#[test]
fn an_aligned_operand_that_is_not_is_a_protection_fault() {
    for code in [&MOVAPS[..], &PXOR] {
        let mut guest = guest();
        guest.state.registers.rdi += 8;
        let outcome = guest.run(code);
        assert_eq!(
            outcome,
            Ok(Completion::Fault(Exception::GENERAL_PROTECTION))
        );
        assert_eq!(guest.extended.stores, 0);
    }
}

#[test]
fn an_unaligned_store_may_cross_a_page() {
    let mut guest = guest();
    guest.state.registers.rdi = DATA_2 - 5;
    assert_eq!(
        guest.run(&MOVUPS_STORE),
        Ok(Completion::Done(Completed::Movups))
    );
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 0xffb, 5), [0x5a; 5]);
    assert_eq!(
        guest.read_bytes(DATA_2_PHYSICAL, 12),
        [[0x5a; 11].as_slice(), &[0]].concat()
    );
}

#[test]
fn a_register_that_becomes_zero_is_no_longer_in_use() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0x5a; 16]);
    assert_eq!(guest.run(&PXOR), Ok(Completion::Done(Completed::Pxor)));
    assert_eq!(guest.extended.area.xstate_bv(), 0);
}

#[test]
fn registers_of_a_component_not_in_use_are_zero() {
    let mut guest = guest();
    guest.extended.area.set_xstate_bv(0); // the bytes of XMM1 are what was left there
    guest.write_bytes(DATA_PHYSICAL, &[1; 16]);
    assert_eq!(guest.run(&PXOR), Ok(Completion::Done(Completed::Pxor)));
    assert_eq!(guest.extended.area.bytes()[176..192], [1; 16]);
}

#[test]
fn sse_needs_osfxsr_and_obeys_em_and_ts() {
    for code in [&MOVAPS[..], &MOVUPS_STORE, &PXOR] {
        let mut guest = guest();
        guest.state.special.cr0 |= CR0_TS;
        let outcome = guest.run(code);
        assert_eq!(
            outcome,
            Ok(Completion::Fault(Exception::DEVICE_NOT_AVAILABLE))
        );
        guest.state.special.cr4 &= !CR4_OSFXSR;
        let outcome = guest.run(code);
        assert_eq!(outcome, Ok(Completion::Fault(Exception::INVALID_OPCODE)));
    }
}

#[test]
fn mmx_forms_that_compute_are_not_completed() {
    // PXOR MM1, [RDI]; PXOR MM1, MM2
    for code in [[0x0f, 0xef, 0x0f], [0x0f, 0xef, 0xca]] {
        let outcome = guest().run(&code);
        assert!(
            matches!(outcome, Err(NotCompleted::Unsupported { .. })),
            "{code:x?}"
        );
    }
}

#[test]
fn a_move_of_mmx_obeys_em_and_ts_and_reports_an_error_of_the_x87() {
    // MOVQ MM1, MM2
    let code = [0x0f, 0x6f, 0xca];
    for (bit, exception) in [
        (CR0_EM, Exception::INVALID_OPCODE),
        (CR0_TS, Exception::DEVICE_NOT_AVAILABLE),
    ] {
        let mut guest = guest();
        guest.state.special.cr0 |= bit;
        assert_eq!(guest.run(&code), Ok(Completion::Fault(exception)));
    }
    let mut guest = guest();
    guest.extended.area.bytes_mut()[..4].copy_from_slice(&[0x7e, 3, 0x81, 0x80]);
    guest.extended.area.set_xstate_bv(3);
    assert_eq!(guest.run(&code), Ok(Completion::Fault(Exception::X87)));
}
