//! The serial port as the host's side of a console knows it.

use std::sync::Arc;

use vmmkit_host_io::{ConsoleOutput, ConsolePort};
use vmmkit_legacy_devices::{SerialOutput, SerialPort};
use vmmkit_run_control::Control;

/// The serial port's transmitter: pushes into the console.
pub(crate) struct Transmitter(pub(crate) ConsoleOutput);

impl SerialOutput for Transmitter {
    #[inline]
    fn push(&mut self, byte: u8) -> bool {
        self.0.push(byte)
    }
}

/// A transmitter that tells of the first byte of each boot, and shows the boot log all of them.
pub(crate) struct FirstByte<O> {
    pub(crate) output: O,
    pub(crate) control: Control,
}

impl<O: SerialOutput> SerialOutput for FirstByte<O> {
    #[inline]
    fn push(&mut self, byte: u8) -> bool {
        self.control.console_is_written();
        let is_taken = self.output.push(byte);
        if is_taken {
            self.control.boot_log().output(byte);
        }
        is_taken
    }
}

/// The serial port's receiver, and its word that there is room again.
pub(crate) struct Receiver(pub(crate) Arc<SerialPort>);

impl ConsolePort for Receiver {
    fn room(&self) -> usize {
        self.0.room()
    }

    fn receive(&self, bytes: &[u8]) -> usize {
        self.0.receive(bytes)
    }

    fn on_room(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.0.on_room(tell);
    }

    fn output_ready(&self) {
        self.0.output_ready();
    }
}
