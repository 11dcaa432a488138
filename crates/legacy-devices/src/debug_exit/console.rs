//! The debug console of firmware (QEMU's isa-debugcon; SeaBIOS, `src/hw/serialio.c`).

use std::fmt;

use parking_lot::Mutex;
use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use super::spec;
use crate::SerialOutput;

/// A port that takes text and has no state. It reads as a number that says that it is there.
pub struct DebugConsole(Mutex<Box<dyn SerialOutput>>);

impl DebugConsole {
    /// Its name on a bus.
    pub const NAME: &'static str = "debug-console";
    /// Its port.
    pub const PORT: u16 = spec::DEBUG_CONSOLE;
    /// How many ports it has.
    pub const LENGTH: u16 = 1;

    /// A port whose bytes go to `output`; what that does not take is lost.
    pub fn new(output: Box<dyn SerialOutput>) -> Self {
        Self(Mutex::new(output))
    }
}

impl DevicePio for DebugConsole {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(spec::DEBUG_CONSOLE_PRESENT);
    }

    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        let mut output = self.0.lock();
        for byte in data {
            output.push(*byte);
        }
    }
}

impl Inspect for DebugConsole {
    fn inspect(&self) -> Tree {
        Tree::new().hex("port", Self::PORT)
    }
}

impl Lifecycle for DebugConsole {}

impl fmt::Debug for DebugConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugConsole").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl SerialOutput for Kept {
        fn push(&mut self, byte: u8) -> bool {
            self.0.lock().push(byte);
            true
        }
    }

    #[test]
    fn text_goes_out_and_reads_say_that_it_is_there() {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let console = DebugConsole::new(Box::new(Kept(kept.clone())));
        console.pio_write(PioAddress(0x402), 0, b"ab");
        console.pio_write(PioAddress(0x402), 0, b"c");
        let mut byte = [0];
        console.pio_read(PioAddress(0x402), 0, &mut byte);
        assert_eq!(byte, [0xe9]);
        assert_eq!(*kept.lock(), b"abc");
    }
}
