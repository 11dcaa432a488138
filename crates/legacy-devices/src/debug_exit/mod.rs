//! Ports for tests and early boot: debug exit (0xF4), debug console (0x402), POST codes (0x80), system control B (0x61).

mod console;
mod post;
pub mod spec;
mod state;
mod system_control;

pub use console::DebugConsole;
pub use post::PostCode;
pub use system_control::SystemControlB;

use std::fmt;

use vmmkit_device_bus::{
    DevicePio, GuestRequest, Lifecycle, PioAddress, PioAddressOffset, RequestSink,
};
use vmmkit_telemetry::{Inspect, Tree};

/// The debug-exit port: a write ends the run with the lowest byte written as the code. It reads
/// as 0 and has no state.
pub struct DebugExit {
    request: RequestSink,
}

impl DebugExit {
    /// Its name on a bus.
    pub const NAME: &'static str = "debug-exit";
    /// Its port.
    pub const PORT: u16 = spec::DEBUG_EXIT;
    /// How many ports it has: 4, so that a write of any width is one code.
    pub const LENGTH: u16 = 4;

    /// A port that sends its requests to `request`.
    pub fn new(request: RequestSink) -> Self {
        Self { request }
    }
}

impl DevicePio for DebugExit {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if let (0, Some(code)) = (offset, data.first()) {
            (self.request)(GuestRequest::DebugExit(*code));
        }
    }
}

impl Inspect for DebugExit {
    fn inspect(&self) -> Tree {
        Tree::new().hex("port", spec::DEBUG_EXIT)
    }
}

impl Lifecycle for DebugExit {}

impl fmt::Debug for DebugExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugExit").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use parking_lot::Mutex;

    #[test]
    fn the_lowest_byte_of_a_write_is_the_code() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let port = DebugExit::new(Arc::new(move |request| sink.lock().push(request)));
        port.pio_write(PioAddress(0xf4), 0, &[42, 1, 0, 0]);
        port.pio_write(PioAddress(0xf4), 1, &[7]);
        assert_eq!(*seen.lock(), [GuestRequest::DebugExit(42)]);
    }
}
