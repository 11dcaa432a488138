//! VZEROUPPER, VZEROALL and the moves of whole registers.
mod guest;

use guest::*;
use vmmkit_x86_emulator::{Completed, Completion, Exception};

const VZEROUPPER: [u8; 3] = [0xc5, 0xf8, 0x77];
const VZEROALL: [u8; 3] = [0xc5, 0xfc, 0x77];
/// Where the state components are (see [`cpuid`]).
const XMM: std::ops::Range<usize> = 160..416;
const YMM_UPPER: std::ops::Range<usize> = 0x240..0x340;
const ZMM_UPPER: std::ops::Range<usize> = 0x480..0x680;
const ZMM_HIGH: std::ops::Range<usize> = 0x680..0xa80;

/// All vector registers are full of ones.
fn full() -> Guest {
    let mut guest = Guest::new();
    let bytes = guest.extended.area.bytes_mut();
    for range in [XMM, YMM_UPPER, ZMM_UPPER, ZMM_HIGH] {
        let range = bytes.iter_mut().take(range.end).skip(range.start);
        range.for_each(|byte| *byte = 0xff);
    }
    guest.extended.area.set_xstate_bv(0xe6);
    guest
}

fn is(guest: &Guest, range: std::ops::Range<usize>, value: u8) -> bool {
    let bytes = guest.extended.area.bytes();
    let mut range = bytes.iter().take(range.end).skip(range.start);
    range.all(|byte| *byte == value)
}

#[test]
fn vzeroupper_leaves_xmm_registers_and_registers_16_to_31() {
    let mut guest = full();
    let done = Ok(Completion::Done(Completed::Vzeroupper));
    assert_eq!(guest.run(&VZEROUPPER), done);
    assert!(is(&guest, XMM, 0xff) && is(&guest, ZMM_HIGH, 0xff));
    assert!(is(&guest, YMM_UPPER, 0) && is(&guest, ZMM_UPPER, 0));
    assert_eq!(guest.extended.area.xstate_bv(), 0xa2);
}

#[test]
fn vzeroall_clears_registers_0_to_15() {
    let mut guest = full();
    let done = Ok(Completion::Done(Completed::Vzeroall));
    assert_eq!(guest.run(&VZEROALL), done);
    assert!(is(&guest, XMM, 0) && is(&guest, YMM_UPPER, 0) && is(&guest, ZMM_UPPER, 0));
    assert!(is(&guest, ZMM_HIGH, 0xff));
    assert_eq!(guest.extended.area.xstate_bv(), 0xa0);
}

#[test]
fn without_avx_enabled_it_is_an_invalid_opcode_and_with_ts_set_not_available() {
    let refused = |change: fn(&mut Guest), exception| {
        let mut guest = full();
        change(&mut guest);
        for code in [VZEROUPPER, VZEROALL] {
            assert_eq!(guest.run(&code), Ok(Completion::Fault(exception)));
        }
        assert_eq!(guest.extended.stores, 0);
    };
    refused(
        |g| g.state.special.cr4 &= !CR4_OSXSAVE,
        Exception::INVALID_OPCODE,
    );
    refused(|g| g.extended.xcr0 = 3, Exception::INVALID_OPCODE);
    refused(
        |g| g.state.special.cr0 |= CR0_TS,
        Exception::DEVICE_NOT_AVAILABLE,
    );
}

#[test]
fn a_move_takes_all_of_a_register_and_clears_what_is_above() {
    let mut guest = full();
    guest.state.registers.rdi = DATA;
    guest.write_bytes(DATA_PHYSICAL, &[0x11; 32]);
    // VMOVDQA YMM3, [RDI]; VMOVDQA YMM15, YMM3; VMOVUPS [RDI+33], YMM15
    for code in [
        &[0xc5, 0xfd, 0x6f, 0x1f][..],
        &[0xc5, 0x7d, 0x6f, 0xfb],
        &[0xc5, 0x7c, 0x11, 0x7f, 33],
    ] {
        assert!(
            matches!(guest.run(code), Ok(Completion::Done(_))),
            "{code:x?}"
        );
    }
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 32, 34)[1..33], [0x11; 32]);
    for number in [3, 15] {
        let (ymm, zmm) = (0x240 + number * 16, 0x480 + number * 32);
        assert!(is(&guest, ymm..ymm + 16, 0x11) && is(&guest, zmm..zmm + 32, 0));
    }
    // VMOVAPS XMM3, XMM4
    assert!(guest.run(&[0xc5, 0xf8, 0x28, 0xdc]).is_ok());
    assert!(is(&guest, 160 + 48..160 + 64, 0xff) && is(&guest, 0x270..0x280, 0));
}

#[test]
fn an_aligned_move_of_what_is_not_aligned_is_a_general_protection_fault() {
    let mut guest = full();
    guest.state.registers.rdi = DATA + 16;
    let fault = Ok(Completion::Fault(Exception::GENERAL_PROTECTION));
    assert_eq!(guest.run(&[0xc5, 0xfd, 0x6f, 0x1f]), fault);
    // VMOVNTDQA YMM3, [RDI]; VMOVNTDQ [RDI], YMM3
    assert_eq!(guest.run(&[0xc4, 0xe2, 0x7d, 0x2a, 0x1f]), fault);
    assert_eq!(guest.run(&[0xc5, 0xfd, 0xe7, 0x1f]), fault);
    // Of 16 bytes it is.
    assert!(guest.run(&[0xc5, 0xf9, 0x6f, 0x1f]).is_ok());
}
