//! The 8254's ticks.

use std::thread;
use std::time::{Duration, Instant};

use vmmkit_guest_memory::GuestAddress;

use super::guest::{Guest, Outcome, same};
use super::interrupts::{HANDLER, HANDLER_ADDRESS, written};
use super::{Case, Need};
use crate::{Hypervisor, VmSettings};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    vec![Case {
        name: "ticks_that_came_too_late_are_dropped_where_that_is_asked_for",
        needs: &[Need::Execution, Need::Irqchip],
        test: late_ticks::<H>,
    }]
}

/// Sets up the PIC for the timer alone and channel 0 for a tick each millisecond (Intel 8254 data sheet, mode 2),
/// says so on port 0x51 with interrupts off, then takes ticks; the handler writes port 0x52.
const TICKING: [u8; 41] = [
    0xb0, 0x11, 0xe6, 0x20, // ICW1: edges, cascade, ICW4 follows
    0xb0, 0x20, 0xe6, 0x21, // ICW2: vectors from 0x20
    0xb0, 0x04, 0xe6, 0x21, // ICW3: a second PIC at IRQ 2
    0xb0, 0x01, 0xe6, 0x21, // ICW4: 8086
    0xb0, 0xfe, 0xe6, 0x21, // OCW1: all but IRQ 0 masked
    0xb0, 0x34, 0xe6, 0x43, // channel 0, both bytes, mode 2
    0xb0, 0xa9, 0xe6, 0x40, // 0x4a9 of 1,193,182 Hz
    0xb0, 0x04, 0xe6, 0x40, //
    0xfa, 0xe6, 0x51, // cli; out 0x51, al
    0xfb, // sti
    0xf4, 0xeb, 0xfd, // hlt; jmp to it
    0x90, 0x90,
];

/// How long the guest takes no ticks: as many milliseconds.
const LATE: Duration = Duration::from_millis(100);
/// So many ticks take their time, but for the one that waits and one that is about to come.
const TICKS: u32 = 30;

/// A guest that got all that it missed would be flooded with it, and on AMD's processors the hypervisor could not
/// have interrupts delivered without its help.
fn late_ticks<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut at_once = 0;
    // A host that stalls may itself be late with ticks, but not time and again.
    for _ in 0..5 {
        let settings = VmSettings::default().dropping_late_ticks();
        let mut guest = Guest::real(hypervisor, &settings, 0, &TICKING)?;
        guest
            .ram
            .write_bytes(GuestAddress(HANDLER_ADDRESS.into()), &HANDLER)?;
        // The interrupt vector table: offset and segment of vector 0x20.
        guest.ram.write(GuestAddress(0x20 * 4), HANDLER_ADDRESS)?;
        guest.expect(written(0x51))?;
        thread::sleep(LATE);
        let start = Instant::now();
        for _ in 0..TICKS {
            guest.expect(written(0x52))?;
        }
        if start.elapsed() >= Duration::from_millis((TICKS - 2).into()) {
            return Ok(());
        }
        at_once += 1;
    }
    same("floods of ticks", at_once, 0)
}
