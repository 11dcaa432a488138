//! The port by which a guest's kernel tells that it panicked.
//!
//! Linux finds it by its ACPI name, QEMU0001, and calls it from its panic notifiers (CONFIG_PVPANIC,
//! CONFIG_PVPANIC_MMIO): after the message is on the console, before anything that `panic=` asks for.

pub mod spec;
mod state;

use std::fmt;

use vmmkit_device_bus::{
    DevicePio, GuestRequest, Lifecycle, PioAddress, PioAddressOffset, RequestSink,
};
use vmmkit_telemetry::{Inspect, Tree};

/// The pvpanic port on a bus. It has no state. Any thread may access it.
pub struct Pvpanic {
    request: RequestSink,
}

impl Pvpanic {
    /// Its name on a bus.
    pub const NAME: &'static str = "pvpanic";
    /// Its port.
    pub const PORT: u16 = spec::PORT;
    /// How many ports it has.
    pub const LENGTH: u16 = 1;

    /// A port that sends its requests to `request`.
    pub fn new(request: RequestSink) -> Self {
        Self { request }
    }
}

impl DevicePio for Pvpanic {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(spec::EVENTS);
    }

    /// Of several bits the gravest counts, and bits that do not exist are ignored.
    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        let events = data.first().copied().unwrap_or(0);
        let request = match events {
            _ if events & spec::PANICKED != 0 => GuestRequest::Panicked,
            _ if events & spec::CRASH_LOADED != 0 => GuestRequest::CrashLoaded,
            _ if events & spec::SHUTDOWN != 0 => GuestRequest::PowerOff,
            _ => return,
        };
        (self.request)(request);
    }
}

impl Inspect for Pvpanic {
    fn inspect(&self) -> Tree {
        Tree::new().hex("events", spec::EVENTS)
    }
}

impl Lifecycle for Pvpanic {}

impl fmt::Debug for Pvpanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pvpanic").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use parking_lot::Mutex;

    fn requests_of(bytes: &[u8]) -> Vec<GuestRequest> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let port = Pvpanic::new(Arc::new(move |request| sink.lock().push(request)));
        for byte in bytes {
            port.pio_write(PioAddress(spec::PORT), 0, &[*byte]);
        }
        seen.lock().clone()
    }

    #[test]
    fn each_bit_is_a_request_of_its_own() {
        assert_eq!(requests_of(&[1]), [GuestRequest::Panicked]);
        assert_eq!(requests_of(&[2]), [GuestRequest::CrashLoaded]);
        assert_eq!(requests_of(&[4]), [GuestRequest::PowerOff]);
    }

    #[test]
    fn a_panic_counts_more_than_what_comes_with_it() {
        assert_eq!(requests_of(&[7]), [GuestRequest::Panicked]);
        assert_eq!(requests_of(&[6]), [GuestRequest::CrashLoaded]);
    }

    #[test]
    fn bits_that_do_not_exist_are_ignored() {
        assert_eq!(requests_of(&[0, 8, 0xf8]), []);
        assert_eq!(requests_of(&[0xf9]), [GuestRequest::Panicked]);
    }

    #[test]
    fn it_reads_as_the_events_that_it_knows() {
        let port = Pvpanic::new(Arc::new(|_| ()));
        let mut byte = [0];
        port.pio_read(PioAddress(spec::PORT), 0, &mut byte);
        assert_eq!(byte, [7]);
    }
}
