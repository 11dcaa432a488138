//! The ACPI fixed hardware (ACPI 6.5, section 4.8): power button, S5, and the timer.
//!
//! The machine is always in ACPI mode: SCI_EN reads as 1 and the FADT's SMI_CMD is 0. There are
//! no general-purpose events, and TMR_STS is never set. The FADT's reset register is port 0xCF9
//! with value 6, see [`crate::reset`].

mod block;
pub mod spec;
mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::{
    DevicePio, GuestRequest, IrqLine, Lifecycle, PioAddress, PioAddressOffset, RequestSink,
};
use vmmkit_telemetry::{Inspect, Tree};

pub use block::AcpiPmState;
use block::Block;

/// Nanoseconds since any fixed moment, never going back; from 0 it wraps after 584 years.
pub type MonotonicClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The ACPI power management block on a bus. Any thread may call anything. The line and the clock
/// are called with its lock held, the request sink without.
pub struct AcpiPm {
    inner: Mutex<Inner>,
    // Wiring
    clock: MonotonicClock,
    request: RequestSink,
}

struct Inner {
    block: Block,
    /// The nanoseconds that the timer is ahead of the clock, modulo 2^64.
    ahead_ns: u64,
    line: IrqLine,
    level: bool,
}

impl AcpiPm {
    /// Its name on a bus.
    pub const NAME: &'static str = "acpi-pm";
    /// Its first port.
    pub const PORT: u16 = spec::BLOCK;
    /// How many ports it has.
    pub const LENGTH: u16 = spec::BLOCK_LENGTH;

    /// A block as after power-on. `line` is the SCI: active high here, level-triggered.
    pub fn new(clock: MonotonicClock, line: IrqLine, request: RequestSink) -> Self {
        let inner = Inner {
            block: Block::default(),
            ahead_ns: 0,
            line,
            level: false,
        };
        Self {
            inner: Mutex::new(inner),
            clock,
            request,
        }
    }

    /// Presses and releases the power button. Returns whether the guest listens to it.
    pub fn power_button(&self) -> bool {
        self.change(|block| block.raise(spec::POWER_BUTTON))
    }

    /// All that the guest can see but the timer, which goes on.
    pub fn state(&self) -> AcpiPmState {
        self.inner.lock().block.state.clone()
    }

    /// Goes to `state`. Bits that do not exist are cut off.
    pub fn restore(&self, state: AcpiPmState) {
        self.change(|block| *block = Block::from_state(state));
    }

    /// Goes back to power-on. The timer runs on.
    pub fn reset(&self) {
        self.restore(AcpiPmState::default());
    }

    /// Nanoseconds since the timer was 0.
    fn timer_ns(&self) -> u64 {
        let now = (self.clock)();
        now.wrapping_add(self.inner.lock().ahead_ns)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Block) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = change(&mut inner.block);
        let level = inner.block.line();
        if level != inner.level {
            inner.level = level;
            inner.line.set_level(level);
        }
        result
    }
}

impl Inspect for AcpiPm {
    fn inspect(&self) -> Tree {
        let state = self.state();
        Tree::new()
            .hex("pm1_status", state.status)
            .hex("pm1_enable", state.enable)
            .hex("pm1_control", state.control)
    }
}

impl DevicePio for AcpiPm {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = self.timer_ns();
        let inner = self.inner.lock();
        for (register, byte) in (offset..=u16::MAX).zip(data) {
            *byte = inner.block.read(register, now);
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let off = self.change(|block| {
            let bytes = (offset..=u16::MAX).zip(data);
            bytes.fold(false, |off, (register, byte)| {
                block.write(register, *byte) || off
            })
        });
        if off {
            (self.request)(GuestRequest::PowerOff);
        }
    }
}

impl Lifecycle for AcpiPm {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for AcpiPm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcpiPm")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
