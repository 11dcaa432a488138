//! INT n through the interrupt descriptor table of 64-bit mode.
mod guest;

use guest::*;
use vmmkit_x86_emulator::{Completed, Completion, Exception};

const INT_21: [u8; 2] = [0xcd, 0x21];
/// The tables, physical and linear: on the second page of the data.
const IDT: u64 = DATA_2;
const GDT: u64 = DATA_2 + 0x400;
const TSS: u64 = DATA_2 + 0x500;
const GDT_PHYSICAL: u64 = DATA_2_PHYSICAL + 0x400;
const TSS_PHYSICAL: u64 = DATA_2_PHYSICAL + 0x500;
const GATE_PHYSICAL: u64 = DATA_2_PHYSICAL + 0x21 * 16;
const HANDLER: u64 = 0xffff_ffff_8123_4567;

const IF: u64 = 1 << 9;
const NT: u64 = 1 << 14;
const INTERRUPT_GATE: u64 = 0x8e;
const TRAP_GATE: u64 = 0x8f;
/// 64-bit code of ring 0, not accessed.
const CODE_0: u64 = 0x0020_9a00_0000_0000;

/// Ring 0 with all tables, and a gate of that type, DPL and stack at 21H to selector 10H.
fn with_gate(access: u64, stack: u64) -> Guest {
    let mut guest = Guest::new();
    guest.state.registers.rsp = DATA + 0x805;
    guest.state.registers.rflags = 2 | CF | IF | TF | NT | AC;
    guest.state.special.ss.selector = 0x18;
    guest.state.special.idt.base = IDT;
    guest.state.special.idt.limit = 0x22 * 16 - 1;
    guest.state.special.gdt.base = GDT;
    guest.state.special.gdt.limit = 0x1f;
    guest.state.special.tr.base = TSS;
    guest.state.special.tr.limit = 0x67;
    guest.state.special.tr.selector = 0x40;
    guest.write(GDT_PHYSICAL + 0x10, CODE_0);
    guest.write(TSS_PHYSICAL + 4, DATA + 0x400);
    guest.write(TSS_PHYSICAL + 36 + 8, DATA + 0xc00);
    let low =
        HANDLER & 0xffff | 0x10 << 16 | stack << 32 | access << 40 | (HANDLER >> 16 & 0xffff) << 48;
    guest.write(GATE_PHYSICAL, low);
    guest.write(GATE_PHYSICAL + 8, HANDLER >> 32);
    guest
}

/// RIP, CS, RFLAGS, RSP and SS as they were pushed at `offset` of the data.
fn frame(guest: &Guest, offset: u64) -> [u64; 5] {
    std::array::from_fn(|word| guest.read(DATA_PHYSICAL + offset + word as u64 * 8))
}

const DONE: Outcome = Ok(Completion::Done(Completed::Int));

fn fault(vector: u8, code: u32) -> Outcome {
    Ok(Completion::Fault(Exception {
        vector,
        error_code: Some(code),
    }))
}

#[test]
fn an_interrupt_gate_pushes_a_frame_on_the_aligned_stack_and_clears_flags() {
    let mut guest = with_gate(INTERRUPT_GATE, 0);
    let before = guest.state;
    assert_eq!(guest.run(&INT_21), DONE);
    let registers = guest.state.registers;
    assert_eq!((registers.rip, registers.rsp), (HANDLER, DATA + 0x800 - 40));
    assert_eq!(registers.rflags, 2 | CF | AC);
    let pushed = [CODE + 2, 0x10, before.registers.rflags, DATA + 0x805, 0x18];
    assert_eq!(frame(&guest, 0x800 - 40), pushed);
    let cs = guest.state.special.cs;
    assert_eq!((cs.selector, cs.l, cs.dpl, cs.kind), (0x10, true, 0, 11));
    assert_eq!(guest.state.special.ss, before.special.ss);
    assert_eq!(guest.read(GDT_PHYSICAL + 0x10), CODE_0 | 1 << 40);
}

#[test]
fn a_trap_gate_leaves_interrupts_on() {
    let mut guest = with_gate(TRAP_GATE, 0);
    assert_eq!(guest.run(&INT_21), DONE);
    assert_eq!(guest.state.registers.rflags, 2 | CF | AC | IF);
}

#[test]
fn a_gate_with_a_stack_of_the_task_uses_it_in_ring_0_too() {
    let mut guest = with_gate(INTERRUPT_GATE, 2);
    assert_eq!(guest.run(&INT_21), DONE);
    assert_eq!(guest.state.registers.rsp, DATA + 0xc00 - 40);
    assert_eq!(frame(&guest, 0xc00 - 40)[3], DATA + 0x805);
}

#[test]
fn from_ring_3_the_gate_allows_it_and_the_stack_is_that_of_ring_0() {
    let mut guest = with_gate(INTERRUPT_GATE | 3 << 5, 0);
    guest.drop_to_user();
    guest.state.special.ss.selector = 0x2b;
    assert_eq!(guest.run(&INT_21), DONE);
    assert_eq!(guest.state.registers.rsp, DATA + 0x400 - 40);
    assert_eq!(guest.state.special.cs.selector, 0x10);
    let ss = guest.state.special.ss;
    assert_eq!((ss.selector, ss.dpl, ss.unusable), (0, 0, true));
    let [_, cs, _, _, ss] = frame(&guest, 0x400 - 40);
    assert_eq!((cs, ss), (0x33, 0x2b));
}

/// Runs INT 21H after `change`, which must end in that fault with all registers as before.
fn refused(access: u64, vector: u8, code: u32, change: fn(&mut Guest)) {
    let mut guest = with_gate(access, 0);
    change(&mut guest);
    let before = guest.state;
    assert_eq!(guest.run(&INT_21), fault(vector, code));
    assert_eq!(guest.state, before);
}

#[test]
fn a_gate_that_is_not_there_or_not_for_this_ring_is_refused() {
    let in_idt = 0x21 << 3 | 2;
    refused(INTERRUPT_GATE, 13, in_idt, Guest::drop_to_user);
    refused(INTERRUPT_GATE, 13, in_idt, |guest| {
        guest.state.special.idt.limit -= 1;
    });
    // Not present; a 32-bit TSS; a task gate; a gate with the bit of segments.
    refused(0x0e, 11, in_idt, |_| {});
    for access in [0x89, 0x85, 0x9e] {
        refused(access, 13, in_idt, |_| {});
    }
}

#[test]
fn a_code_segment_that_cannot_be_entered_is_refused() {
    let replaced =
        |descriptor: u64| move |guest: &mut Guest| guest.write(GDT_PHYSICAL + 0x10, descriptor);
    // Data; 32-bit code; code of ring 3; not present.
    for (descriptor, vector) in [
        (0x0020_9200_0000_0000, 13),
        (0x0040_9a00_0000_0000, 13),
        (0x0020_fa00_0000_0000, 13),
        (0x0020_1a00_0000_0000, 11),
    ] {
        let mut guest = with_gate(INTERRUPT_GATE, 0);
        replaced(descriptor)(&mut guest);
        let before = guest.state;
        assert_eq!(guest.run(&INT_21), fault(vector, 0x10), "{descriptor:x}");
        assert_eq!(guest.state, before);
    }
    refused(INTERRUPT_GATE, 13, 0x10, |guest| {
        guest.state.special.gdt.limit = 0x16;
    });
    refused(INTERRUPT_GATE, 13, 0, |guest| {
        let gate = guest.read(GATE_PHYSICAL);
        guest.write(GATE_PHYSICAL, gate & !(0xffff << 16));
    });
    refused(INTERRUPT_GATE, 13, 0x14, |guest| {
        let gate = guest.read(GATE_PHYSICAL);
        guest.write(GATE_PHYSICAL, gate | 4 << 16);
        guest.state.special.ldt.unusable = true;
    });
}

#[test]
fn a_stack_or_handler_that_cannot_be_used_is_refused() {
    refused(INTERRUPT_GATE, 13, 0, |guest| {
        guest.write(GATE_PHYSICAL + 8, 0x1234_5678);
    });
    refused(INTERRUPT_GATE, 12, 0, |guest| {
        guest.state.registers.rsp = 1 << 63;
    });
    refused(INTERRUPT_GATE | 3 << 5, 10, 0x40, |guest| {
        guest.drop_to_user();
        guest.state.special.tr.limit = 10;
    });
    refused(INTERRUPT_GATE | 3 << 5, 12, 0, |guest| {
        guest.drop_to_user();
        guest.write(TSS_PHYSICAL + 4, 1 << 50);
    });
}

#[test]
fn tables_that_are_absent_or_the_users_are_page_faults_of_the_supervisor() {
    for entry in [0, DATA_2_PHYSICAL | KERNEL | USER] {
        let mut guest = with_gate(INTERRUPT_GATE | 3 << 5, 0);
        guest.state.special.cr4 |= CR4_SMAP;
        guest.map(DATA_2, entry);
        let mut before = guest.state;
        let code = u32::from(entry != 0);
        assert_eq!(guest.run(&INT_21), fault(14, code));
        before.special.cr2 = IDT + 0x210;
        assert_eq!(guest.state, before);
    }
}
