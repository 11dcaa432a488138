//! The i8042 keyboard controller with a keyboard that has three keys: Ctrl, Alt and Delete.
//!
//! It is complete enough for drivers to find it quickly, to ask a guest to restart, and to be
//! asked for a reset. There is no auxiliary port: its test fails at once, so nobody waits for it.

mod controller;
pub mod spec;
mod state;

use std::fmt;

use parking_lot::Mutex;
use vmmkit_device_bus::{
    DevicePio, GuestRequest, IrqLine, Lifecycle, PioAddress, PioAddressOffset, RequestSink,
};
use vmmkit_telemetry::{Inspect, Tree};

use controller::Controller;
pub use controller::I8042State;

/// The keyboard controller on a bus: plug it at [`PORT`](Self::PORT) and at
/// [`COMMAND_PORT`](Self::COMMAND_PORT). Any thread may call anything; the line is called with its
/// lock held, the request sink without.
pub struct I8042 {
    inner: Mutex<Inner>,
    request: RequestSink,
}

struct Inner {
    controller: Controller,
    line: IrqLine,
    level: bool,
}

impl I8042 {
    /// Its name on a bus.
    pub const NAME: &'static str = "i8042";
    /// The data port.
    pub const PORT: u16 = spec::DATA;
    /// The status and command port.
    pub const COMMAND_PORT: u16 = spec::COMMAND;
    /// How many ports it has at each of the two.
    pub const LENGTH: u16 = 1;

    /// A controller as firmware leaves it. `line` is the keyboard's.
    pub fn new(line: IrqLine, request: RequestSink) -> Self {
        let inner = Inner {
            controller: Controller::default(),
            line,
            level: false,
        };
        Self {
            inner: Mutex::new(inner),
            request,
        }
    }

    /// Presses and releases Ctrl, Alt and Delete. Returns false if the keyboard is off or the
    /// guest has not read earlier keys.
    pub fn ctrl_alt_del(&self) -> bool {
        self.change(Controller::ctrl_alt_del)
    }

    /// All that the guest can see.
    pub fn state(&self) -> I8042State {
        self.inner.lock().controller.state.clone()
    }

    /// Goes to `state`; what does not fit the queue is cut off.
    pub fn restore(&self, state: I8042State) {
        self.change(|controller| *controller = Controller::from_state(state));
    }

    /// Goes back to power-on.
    pub fn reset(&self) {
        self.restore(I8042State::default());
    }

    fn change<R>(&self, change: impl FnOnce(&mut Controller) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = change(&mut inner.controller);
        inner.update_line();
        result
    }
}

impl Inner {
    fn update_line(&mut self) {
        let level = self.controller.line();
        if level != self.level {
            self.level = level;
            self.line.set_level(level);
        }
    }

    /// Each byte is an edge of its own: the line falls while the next one moves up.
    fn read_data(&mut self) -> u8 {
        if std::mem::take(&mut self.level) {
            self.line.set_level(false);
        }
        self.controller.read_data()
    }
}

impl Inspect for I8042 {
    fn inspect(&self) -> Tree {
        let inner = self.inner.lock();
        let state = &inner.controller.state;
        Tree::new()
            .hex("command_byte", state.control)
            .hex("pending_command", state.command)
            .flag("keyboard_scans", state.scanning)
            .flag("line_is_high", inner.level)
            .gauge("keys_waiting", state.keys.len() as u64)
    }
}

impl DevicePio for I8042 {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let mut inner = self.inner.lock();
        data.fill(0xff);
        if let Some(byte) = data.first_mut() {
            *byte = match base.0.wrapping_add(offset) {
                spec::DATA => inner.read_data(),
                spec::COMMAND => inner.controller.read_status(),
                _ => 0xff,
            };
        }
        inner.update_line();
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let Some(value) = data.first().copied() else {
            return;
        };
        let reset = self.change(|controller| match base.0.wrapping_add(offset) {
            spec::DATA => controller.write_data(value),
            spec::COMMAND => controller.write_command(value),
            _ => false,
        });
        if reset {
            (self.request)(GuestRequest::Reset);
        }
    }
}

impl Lifecycle for I8042 {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for I8042 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("I8042")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
