//! System control port B.

use std::sync::atomic::{AtomicU8, Ordering};

use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use super::spec::*;

/// System control port B, as far as boot code looks: no memory error is ever reported, the
/// refresh bit toggles with each read, and timer 2 has always elapsed once its gate is open.
/// Leave it out where the hypervisor's own timer chip answers this port.
#[derive(Debug, Default)]
// Ordering: one register, and nothing that it goes with.
pub struct SystemControlB(AtomicU8);

impl SystemControlB {
    /// Its name on a bus.
    pub const NAME: &'static str = "system-control-b";
    /// Its port.
    pub const PORT: u16 = SYSTEM_CONTROL_B;
    /// How many ports it has.
    pub const LENGTH: u16 = 1;

    /// A port as after power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The register without timer 2's output: all the state there is.
    pub fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes to `state`.
    pub fn restore(&self, state: u8) {
        self.0
            .store(state & (SYSTEM_CONTROL_B_KEPT | REFRESH), Ordering::Relaxed);
    }

    /// Goes back to power-on.
    pub fn reset(&self) {
        self.restore(0);
    }
}

impl DevicePio for SystemControlB {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        let value = self.0.fetch_xor(REFRESH, Ordering::Relaxed);
        let out = if value & TIMER_2_GATE != 0 {
            TIMER_2_OUT
        } else {
            0
        };
        data.fill(value | out);
    }

    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        if let Some(value) = data.first() {
            self.restore(value & SYSTEM_CONTROL_B_KEPT);
        }
    }
}

impl Inspect for SystemControlB {
    fn inspect(&self) -> Tree {
        Tree::new().hex("value", self.state())
    }
}

impl Lifecycle for SystemControlB {
    fn reset(&self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_2_elapses_and_refresh_toggles() {
        let port = SystemControlB::new();
        let read = || {
            let mut byte = [0];
            port.pio_read(PioAddress(0x61), 0, &mut byte);
            byte[0]
        };
        assert_eq!((read(), read()), (0, REFRESH));
        port.pio_write(PioAddress(0x61), 0, &[TIMER_2_GATE]);
        assert_eq!(read(), TIMER_2_GATE | TIMER_2_OUT);
    }
}
