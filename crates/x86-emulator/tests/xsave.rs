//! FXSAVE and the XSAVE feature set: what goes where, and what is refused.
mod guest;

use guest::*;
use vmmkit_x86_emulator::{Completed, Completion, Exception, NotCompleted, XsaveArea};

// All with [RDI].
const FXSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x07];
const FXRSTOR64: [u8; 4] = [0x48, 0x0f, 0xae, 0x0f];
const XSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x27];
const XRSTOR64: [u8; 4] = [0x48, 0x0f, 0xae, 0x2f];
const XSAVEOPT64: [u8; 4] = [0x48, 0x0f, 0xae, 0x37];
const XSAVEC64: [u8; 4] = [0x48, 0x0f, 0xc7, 0x27];
const XSAVES64: [u8; 4] = [0x48, 0x0f, 0xc7, 0x2f];
const XRSTORS64: [u8; 4] = [0x48, 0x0f, 0xc7, 0x1f];
const XGETBV: [u8; 3] = [0x0f, 0x01, 0xd0];
const XSETBV: [u8; 3] = [0x0f, 0x01, 0xd1];

const ALL: [[u8; 4]; 6] = [XSAVE64, XRSTOR64, XSAVEOPT64, XSAVEC64, XSAVES64, XRSTORS64];

const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const HI16_ZMM: u64 = 1 << 7;
const PKRU: u64 = 1 << 9;
const HEADER: u64 = DATA_PHYSICAL + 512;
const COMPACTED: u64 = 1 << 63;

/// RDI at the data, EDX:EAX all ones, and x87, SSE, AVX and PKRU in use with bytes to tell them
/// apart.
fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rdi = DATA;
    guest.state.registers.rax = u64::MAX;
    guest.state.registers.rdx = u64::MAX;
    let area = &mut guest.extended.area;
    area.bytes_mut()[32..42].fill(0x11);
    area.bytes_mut()[160..416].fill(0x22);
    area.bytes_mut()[0x240..0x340].fill(0x33);
    area.bytes_mut()[0xa80..0xa88].fill(0x99);
    area.set_xstate_bv(X87 | SSE | AVX | PKRU);
    guest
}

fn general_protection() -> Outcome {
    Ok(Completion::Fault(Exception::GENERAL_PROTECTION))
}

fn done(outcome: Outcome) {
    assert!(matches!(outcome, Ok(Completion::Done(_))), "{outcome:?}");
}

#[test]
fn xsave_writes_what_is_asked_for_and_touches_nothing_else() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 4096]);
    guest.write(HEADER, HI16_ZMM | SSE);
    guest.state.registers.rax = X87 | AVX;
    assert_eq!(
        guest.run(&XSAVE64),
        Ok(Completion::Done(Completed::Xsave64))
    );
    let image = guest.read_bytes(DATA_PHYSICAL, 4096);
    assert_eq!(image[..2], [0x7f, 3]);
    assert_eq!(image[24..28], [0x80, 0x1f, 0, 0], "MXCSR comes with AVX");
    assert_eq!(image[32..42], [0x11; 10]);
    assert_eq!(image[160..512], [0xee; 352]);
    assert_eq!(guest.read(HEADER), HI16_ZMM | SSE | X87 | AVX);
    assert_eq!(image[520..576], [0xee; 56]);
    assert_eq!(image[0x240..0x340], [0x33; 256]);
    assert_eq!(image[0x340..], [0xee; 4096 - 0x340]);
}

#[test]
fn xsave_writes_components_that_are_not_in_use_and_says_so() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 4096]);
    guest.extended.area.bytes_mut()[0x680] = 9; // what a hypervisor may have left
    guest.state.registers.rax = HI16_ZMM;
    done(guest.run(&XSAVE64));
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 0x680, 0x400), [0; 0x400]);
    assert_eq!(guest.read(HEADER) & HI16_ZMM, 0);
}

#[test]
fn xsaveopt_leaves_out_what_is_not_in_use() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 4096]);
    guest.write(HEADER, HI16_ZMM | AVX);
    guest.state.registers.rax = HI16_ZMM | SSE;
    done(guest.run(&XSAVEOPT64));
    assert_eq!(
        guest.read_bytes(DATA_PHYSICAL + 0x680, 0x400),
        [0xee; 0x400]
    );
    assert_eq!(guest.read(HEADER), AVX | SSE);
}

#[test]
fn xsavec_packs_what_is_asked_for() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 4096]);
    guest.state.registers.rax = X87 | SSE | HI16_ZMM | PKRU;
    done(guest.run(&XSAVEC64));
    assert_eq!(guest.read(HEADER), X87 | SSE | PKRU);
    let asked = X87 | SSE | HI16_ZMM | PKRU;
    assert_eq!(guest.read(HEADER + 8), COMPACTED | asked);
    // Room for the component that is not in use stays.
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 576, 0x400), [0xee; 0x400]);
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 576 + 0x400, 8), [0x99; 8]);
}

#[test]
fn xsavec_takes_mxcsr_as_a_use_of_sse() {
    let mut guest = guest();
    guest.extended.area.set_xstate_bv(0);
    guest.extended.area.set_mxcsr(0x1fa0);
    guest.state.registers.rax = SSE;
    done(guest.run(&XSAVEC64));
    assert_eq!(guest.read(HEADER), SSE);
    assert_eq!(guest.read(DATA_PHYSICAL + 24) as u32, 0x1fa0);
    guest.extended.area.set_mxcsr(0x1f80);
    done(guest.run(&XSAVEC64));
    assert_eq!(guest.read(HEADER), 0);
}

#[test]
fn what_was_saved_is_restored() {
    for (save, restore) in [
        (XSAVE64, XRSTOR64),
        (XSAVEOPT64, XRSTOR64),
        (XSAVEC64, XRSTOR64),
        (XSAVES64, XRSTORS64),
    ] {
        let mut guest = guest();
        guest.extended.area.set_mxcsr(0x1fa0);
        let before = guest.extended.area.clone();
        done(guest.run(&save));
        guest.extended.area = XsaveArea::default();
        done(guest.run(&restore));
        assert!(guest.extended.area == before, "{save:x?}");
    }
}

#[test]
fn xrstor_initialises_what_the_image_does_not_have() {
    let mut guest = guest();
    guest.state.registers.rax = X87 | AVX;
    guest.write(DATA_PHYSICAL + 24, 0x1fa0);
    done(guest.run(&XRSTOR64));
    let area = &guest.extended.area;
    assert_eq!(area.xstate_bv(), SSE | PKRU);
    assert_eq!(area.bytes()[32..42], [0; 10]);
    assert_eq!(area.fcw(), 0x37f);
    assert_eq!(area.bytes()[0x240..0x340], [0; 256]);
    assert_eq!(area.bytes()[160..416], [0x22; 256]);
    assert_eq!(
        area.mxcsr(),
        0x1fa0,
        "AVX brings MXCSR, whatever XSTATE_BV says"
    );
}

#[test]
fn xrstor_of_the_compacted_format_initialises_mxcsr_with_sse() {
    let mut guest = guest();
    guest.extended.area.set_mxcsr(0x1fa0);
    guest.write(DATA_PHYSICAL + 24, 0x1fc0);
    guest.write(HEADER + 8, COMPACTED | AVX);
    guest.state.registers.rax = AVX;
    done(guest.run(&XRSTOR64));
    assert_eq!(guest.extended.area.mxcsr(), 0x1fa0);
    guest.state.registers.rax = SSE;
    done(guest.run(&XRSTOR64));
    assert_eq!(guest.extended.area.mxcsr(), 0x1f80);
}

#[test]
fn xrstor_refuses_a_bad_header() {
    let bad: [(u64, u64, u64, u64); 8] = [
        // XSTATE_BV, XCOMP_BV, the next 8 bytes, the last 8
        (1 << 10, 0, 0, 0),             // not in XCR0
        (1 << 63, 0, 0, 0),             // likewise
        (0, 1, 0, 0),                   // XCOMP_BV without the format's bit
        (0, 0, 1, 0),                   // not zero
        (0, COMPACTED | 1 << 10, 0, 0), // not in XCR0
        (SSE, COMPACTED | AVX, 0, 0),   // a component that the format has not
        (1 << 63, COMPACTED, 0, 0),     // likewise
        (0, COMPACTED, 0, 1),           // not zero
    ];
    for (xstate_bv, xcomp_bv, next, last) in bad {
        let mut guest = guest();
        guest.write(HEADER, xstate_bv);
        guest.write(HEADER + 8, xcomp_bv);
        guest.write(HEADER + 16, next);
        guest.write(HEADER + 56, last);
        let before = guest.extended.area.clone();
        let what = format!("{xstate_bv:x} {xcomp_bv:x} {next:x} {last:x}");
        assert_eq!(guest.run(&XRSTOR64), general_protection(), "{what}");
        assert_eq!(guest.run(&XRSTORS64), general_protection(), "{what}");
        assert!(guest.extended.area == before);
    }
}

#[test]
fn xrstors_takes_the_compacted_format_only() {
    let mut guest = guest();
    assert_eq!(guest.run(&XRSTORS64), general_protection());
    guest.write(HEADER + 8, COMPACTED);
    done(guest.run(&XRSTORS64));
    assert_eq!(guest.extended.area.xstate_bv() & !SSE, 0);
}

#[test]
fn reserved_bits_of_mxcsr_are_refused_where_it_is_loaded() {
    let mut guest = guest();
    guest.write(DATA_PHYSICAL + 24, 1 << 16);
    guest.state.registers.rax = SSE;
    assert_eq!(guest.run(&XRSTOR64), general_protection());
    assert_eq!(guest.run(&FXRSTOR64), general_protection());
    guest.state.registers.rax = X87;
    done(guest.run(&XRSTOR64));
    guest.state.registers.rax = SSE;
    guest.write(HEADER + 8, COMPACTED | SSE);
    done(guest.run(&XRSTOR64));
    guest.write(HEADER, SSE);
    assert_eq!(guest.run(&XRSTOR64), general_protection());
}

#[test]
fn areas_are_aligned() {
    for code in ALL {
        let mut guest = guest();
        guest.state.registers.rdi += 32;
        assert_eq!(guest.run(&code), general_protection(), "{code:x?}");
    }
    for code in [FXSAVE64, FXRSTOR64] {
        let mut guest = guest();
        guest.state.registers.rdi += 8;
        assert_eq!(guest.run(&code), general_protection(), "{code:x?}");
        guest.state.registers.rdi += 8;
        done(guest.run(&code));
    }
}

#[test]
fn without_osxsave_all_are_invalid_opcodes() {
    let codes = ALL
        .iter()
        .map(|code| &code[..])
        .chain([&XGETBV[..], &XSETBV]);
    for code in codes {
        let mut guest = guest();
        guest.state.special.cr4 &= !CR4_OSXSAVE;
        assert_eq!(
            guest.run(code),
            Ok(Completion::Fault(Exception::INVALID_OPCODE))
        );
    }
}

#[test]
fn with_ts_the_state_is_not_available() {
    for code in ALL {
        let mut guest = guest();
        guest.state.special.cr0 |= CR0_TS;
        let outcome = guest.run(&code);
        assert_eq!(
            outcome,
            Ok(Completion::Fault(Exception::DEVICE_NOT_AVAILABLE))
        );
    }
}

#[test]
fn supervisor_forms_are_for_ring_0() {
    for code in [XSAVES64, XRSTORS64] {
        let mut guest = guest();
        guest.drop_to_user();
        assert_eq!(guest.run(&code), general_protection());
    }
}

#[test]
fn supervisor_components_have_no_place() {
    for code in [XSAVES64, XRSTORS64] {
        let mut guest = guest();
        guest.extended.xss = 1 << 11;
        let components = 1 << 11;
        assert_eq!(guest.run(&code), Err(NotCompleted::NoPlace { components }));
        guest.state.registers.rax = 3;
        guest.state.registers.rdx = 0;
        guest.write(HEADER + 8, COMPACTED);
        done(guest.run(&code));
    }
}

#[test]
fn a_component_that_cpuid_does_not_tell_of_has_no_place() {
    let mut guest = guest();
    guest.emulator = vmmkit_x86_emulator::Emulator::new(&[]);
    let components = 0x2e4;
    assert_eq!(
        guest.run(&XSAVE64),
        Err(NotCompleted::NoPlace { components })
    );
}

#[test]
fn an_image_of_ones_in_xcomp_bv_does_not_overflow() {
    let mut cpuid = cpuid();
    for leaf in &mut cpuid {
        if leaf.function == 0xd && leaf.index > 1 {
            leaf.eax = u32::MAX;
        }
    }
    let mut guest = Guest::with_cpuid(&cpuid);
    guest.state.registers.rdi = DATA;
    guest.state.registers.rax = PKRU;
    guest.write(HEADER, PKRU);
    guest.write(HEADER + 8, COMPACTED | 0x2e7);
    let components = PKRU;
    assert_eq!(
        guest.run(&XRSTOR64),
        Err(NotCompleted::NoPlace { components })
    );
}

#[test]
fn an_area_may_cross_a_page() {
    let mut guest = guest();
    guest.state.registers.rdi = DATA_2 - 0x280;
    done(guest.run(&XSAVE64));
    let first = guest.read_bytes(DATA_PHYSICAL + 0xd80, 0x280);
    let second = guest.read_bytes(DATA_2_PHYSICAL, 0x100);
    assert_eq!(first[0x240..], [0x33; 0x40]);
    assert_eq!(second[..0xc0], [0x33; 0xc0]);
    guest.extended.area = XsaveArea::default();
    done(guest.run(&XRSTOR64));
    assert_eq!(guest.extended.area.bytes()[0x240..0x340], [0x33; 256]);
}

#[test]
fn fxsave_writes_416_bytes() {
    let mut guest = guest();
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 512]);
    done(guest.run(&FXSAVE64));
    let image = guest.read_bytes(DATA_PHYSICAL, 512);
    assert_eq!(image[..416], guest.extended.area.bytes()[..416]);
    assert_eq!(image[416..], [0xee; 96]);
}

#[test]
fn fast_fxsave_of_ring_0_leaves_xmm_registers_out() {
    let mut guest = guest();
    guest.state.special.efer |= 1 << 14;
    guest.write_bytes(DATA_PHYSICAL, &[0xee; 512]);
    done(guest.run(&FXSAVE64));
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 160, 256), [0xee; 256]);
    guest.map(DATA, DATA_PHYSICAL | KERNEL | USER);
    guest.drop_to_user();
    done(guest.run(&FXSAVE64));
    assert_eq!(guest.read_bytes(DATA_PHYSICAL + 160, 256), [0x22; 256]);
}

const HALF: [u8; 8] = [0x77, 0x77, 0x77, 0x77, 0, 0, 0, 0];

#[test]
fn saves_without_rex_w_have_pointers_of_32_bits() {
    for code in [FXSAVE64, XSAVE64, XSAVEC64] {
        let mut guest = guest();
        guest.extended.area.bytes_mut()[8..24].fill(0x77);
        done(guest.run(&code[1..]));
        let pointers = guest.read_bytes(DATA_PHYSICAL + 8, 16);
        assert_eq!(pointers, [HALF, HALF].concat(), "{code:x?}");
        done(guest.run(&code));
        assert_eq!(guest.read_bytes(DATA_PHYSICAL + 8, 16), [0x77; 16]);
    }
}

#[test]
fn restores_without_rex_w_take_pointers_of_32_bits() {
    for code in [FXRSTOR64, XRSTOR64] {
        let mut guest = guest();
        guest.write(HEADER, X87);
        guest.write_bytes(DATA_PHYSICAL + 8, &[0x77; 16]);
        done(guest.run(&code[1..]));
        let pointers = &guest.extended.area.bytes()[8..24];
        assert_eq!(pointers, [HALF, HALF].concat(), "{code:x?}");
        done(guest.run(&code));
        assert_eq!(guest.extended.area.bytes()[8..24], [0x77; 16]);
    }
}

#[test]
fn a_component_behind_the_area_has_no_place_though_it_has_one_in_the_image() {
    let mut cpuid = cpuid();
    let far = vmmkit_hypervisor::x86::CpuidEntry {
        function: 0xd,
        index: 19,
        significant_index: true,
        eax: 64,
        ebx: 10944,
        ..Default::default()
    };
    cpuid.push(far);
    let mut guest = Guest::with_cpuid(&cpuid);
    guest.state.registers.rdi = DATA;
    let components = 1 << 19;
    guest.state.registers.rax = components;
    guest.extended.xcr0 |= components;
    done(guest.run(&XSAVEC64)); // it is not in use
    guest.extended.area.set_xstate_bv(components);
    let refused = Err(NotCompleted::NoPlace { components });
    assert_eq!(guest.run(&XSAVEC64), refused);
    guest.write(HEADER, components);
    guest.write(HEADER + 8, COMPACTED | components);
    assert_eq!(guest.run(&XRSTOR64), refused);
}

#[test]
fn xgetbv_tells_xcr0_and_what_of_it_is_in_use() {
    let mut guest = guest();
    done(guest.run(&XGETBV));
    assert_eq!(
        (guest.state.registers.rax, guest.state.registers.rdx),
        (0x2e7, 0)
    );
    guest.state.registers.rcx = 0xffff_ffff_0000_0001;
    done(guest.run(&XGETBV));
    assert_eq!(guest.state.registers.rax, X87 | SSE | AVX | PKRU);
    guest.state.registers.rcx = 2;
    assert_eq!(guest.run(&XGETBV), general_protection());
}

#[test]
fn xsetbv_sets_what_is_consistent() {
    for (value, valid) in [
        (0x1, true),
        (0x3, true),
        (0x7, true),
        (0xe7, true),
        (0x2e7, true),
        (0x201, true),
        (0x0, false),  // x87 is always on
        (0x2, false),  // likewise
        (0x5, false),  // AVX without SSE
        (0x67, false), // a part of AVX-512
        (0xe3, false), // AVX-512 without AVX
        (0xb, false),  // not in CPUID
        (1 << 63 | 1, false),
    ] {
        let mut guest = guest();
        guest.state.registers.rax = value & 0xffff_ffff;
        guest.state.registers.rdx = value >> 32;
        let outcome = guest.run(&XSETBV);
        if valid {
            done(outcome);
            assert_eq!(guest.extended.xcr0, value);
        } else {
            assert_eq!(outcome, general_protection(), "{value:#x}");
            assert_eq!(guest.extended.xcr0, 0x2e7);
        }
    }
}

#[test]
fn xsetbv_is_for_ring_0_and_register_0() {
    let mut guest = guest();
    (guest.state.registers.rax, guest.state.registers.rdx) = (7, 0);
    guest.state.registers.rcx = 1;
    assert_eq!(guest.run(&XSETBV), general_protection());
    guest.state.registers.rcx = 0;
    guest.drop_to_user();
    assert_eq!(guest.run(&XSETBV), general_protection());
}
