//! The POST code port.

use std::sync::atomic::{AtomicU8, Ordering};

use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use super::spec;

/// Keeps the last POST code, without a lock: Linux writes here whenever it waits for old hardware.
#[derive(Debug, Default)]
// Ordering: one register, and nothing that it goes with.
pub struct PostCode(AtomicU8);

impl PostCode {
    /// Its name on a bus.
    pub const NAME: &'static str = "post-code";
    /// Its port.
    pub const PORT: u16 = spec::POST_CODE;
    /// How many ports it has.
    pub const LENGTH: u16 = 1;

    /// A port with code 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last code written: all the state there is.
    pub fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes to the code `state`.
    pub fn restore(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }

    /// Goes back to code 0.
    pub fn reset(&self) {
        self.restore(0);
    }
}

impl Inspect for PostCode {
    fn inspect(&self) -> Tree {
        Tree::new().hex("code", self.state())
    }
}

impl DevicePio for PostCode {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(self.state());
    }

    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        if let Some(code) = data.first() {
            self.restore(*code);
        }
    }
}

impl Lifecycle for PostCode {
    fn reset(&self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_code_is_kept_until_reset() {
        let port = PostCode::new();
        port.pio_write(PioAddress(0x80), 0, &[0x55]);
        assert_eq!(port.state(), 0x55);
        port.reset();
        assert_eq!(port.state(), 0);
    }
}
