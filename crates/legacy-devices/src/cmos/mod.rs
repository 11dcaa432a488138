//! The clock and its RAM: an MC146818A as PC/AT firmware leaves it.
//!
//! Time comes from the owner; a guest that sets the clock moves only its own. An update is never
//! seen in progress, so drivers that wait for its end do not wait. There are no interrupts: alarm
//! and periodic rate are only remembered. Setting the weekday has no effect; it follows the date.

mod calendar;
mod rtc;
pub mod spec;
mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

pub use calendar::Moment;
pub use rtc::CmosState;
use rtc::Rtc;

/// Seconds since 1970 in UTC; called with the device's lock free.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock on a bus. Any thread may access it.
pub struct Cmos {
    rtc: Mutex<Rtc>,
    // Wiring
    clock: WallClock,
    // Fixed at creation
    fresh: Rtc,
}

impl Cmos {
    /// Its name on a bus.
    pub const NAME: &'static str = "cmos";
    /// Its index port; the data port follows.
    pub const PORT: u16 = spec::INDEX;
    /// How many ports it has.
    pub const LENGTH: u16 = 2;

    /// A clock in a machine with `below_4g` bytes of RAM below 4 GiB and `above_4g` above.
    pub fn new(clock: WallClock, below_4g: u64, above_4g: u64) -> Self {
        let fresh = Rtc::new(below_4g, above_4g);
        Self {
            rtc: Mutex::new(fresh.clone()),
            clock,
            fresh,
        }
    }

    /// All that the guest can see.
    pub fn state(&self) -> CmosState {
        self.rtc.lock().state.clone()
    }

    /// Goes to `state`; every state is possible.
    pub fn restore(&self, state: CmosState) {
        self.rtc.lock().state = state;
    }

    /// Goes back to power-on with the owner's time.
    pub fn reset(&self) {
        self.restore(self.fresh.state.clone());
    }
}

impl Inspect for Cmos {
    fn inspect(&self) -> Tree {
        let state = self.state();
        let tree = Tree::new().hex("index", state.index);
        let registers = state.registers.iter().take(14).enumerate();
        registers.fold(tree, |tree, (index, value)| {
            tree.hex(format!("register_{index:02x}"), *value)
        })
    }
}

impl DevicePio for Cmos {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = (self.clock)();
        let rtc = self.rtc.lock();
        for (register, byte) in (offset..=u16::MAX).zip(data) {
            // The index register is write only on a PC.
            *byte = if register == 1 { rtc.read(now) } else { 0xff };
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = (self.clock)();
        let mut rtc = self.rtc.lock();
        for (register, byte) in (offset..=u16::MAX).zip(data) {
            match register {
                0 => rtc.state.index = *byte,
                1 => rtc.write(*byte, now),
                _ => {} // not a port of this device
            }
        }
    }
}

impl Lifecycle for Cmos {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for Cmos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmos")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
