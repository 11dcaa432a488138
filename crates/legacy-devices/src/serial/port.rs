//! The port: the chip with its lock, its sink and its line.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::{DevicePio, IrqLine, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use super::uart::Uart;
use super::{SerialOutput, SerialState};

/// A serial port that plugs into a bus.
///
/// vCPU threads access it, the owner's event loop calls [`receive`](Self::receive) and
/// [`output_ready`](Self::output_ready). One lock guards it; it is held while the sink and the
/// line are called, which must not call back, and is free while the
/// [`on_room`](Self::on_room) callback runs.
///
/// # Input is never lost
///
/// The port takes bytes only while somebody reads: the guest has enabled the received data
/// interrupt, or has polled LSR 16 times with no other access in between, but for reads of MCR and MSR, and
/// the transmitter empty. Until then [`room`](Self::room) is 0 and the bytes wait in the host.
pub struct SerialPort {
    inner: Mutex<Inner>,
    on_room: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

struct Inner {
    uart: Uart,
    // Wiring
    output: Box<dyn SerialOutput>,
    line: IrqLine,
    level: bool,
    /// The owner was told that there is no room, and waits for the callback.
    starved: bool,
}

impl SerialPort {
    /// Its name on a bus.
    pub const NAME: &'static str = "serial";
    /// The first port of COM1.
    pub const PORT: u16 = 0x3f8;
    /// How many ports it has.
    pub const LENGTH: u16 = 8;

    /// A port as after power-on.
    pub fn new(output: Box<dyn SerialOutput>, line: IrqLine) -> Self {
        Self::from_state(SerialState::default(), output, line)
    }

    /// A port in `state`. Any state is taken; what no chip could hold is cut off.
    pub fn from_state(state: SerialState, output: Box<dyn SerialOutput>, line: IrqLine) -> Self {
        let mut inner = Inner {
            uart: Uart::from_state(state),
            output,
            line,
            level: false,
            starved: false,
        };
        inner.update_line();
        Self {
            inner: Mutex::new(inner),
            on_room: Mutex::new(None),
        }
    }

    /// All that the guest can see.
    pub fn state(&self) -> SerialState {
        self.inner.lock().uart.state.clone()
    }

    /// Goes to `state`, as [`from_state`](Self::from_state) does.
    pub fn restore(&self, state: SerialState) {
        self.change(|inner| {
            let dropped = inner.uart.dropped;
            inner.uart = Uart::from_state(state);
            inner.uart.dropped = dropped;
        });
    }

    /// Goes back to power-on. Unread input and unsent output are gone.
    pub fn reset(&self) {
        self.restore(SerialState::default());
    }

    /// Takes bytes for the guest; returns how many, from the front. The rest is the caller's to
    /// keep until [`on_room`](Self::on_room) calls.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        self.change(|inner| {
            let accepted = inner.uart.receive(bytes);
            inner.starved |= accepted < bytes.len();
            accepted
        })
    }

    /// How many bytes [`receive`](Self::receive) would take now: 0 to 16. After 0, the callback
    /// will tell.
    pub fn room(&self) -> usize {
        let mut inner = self.inner.lock();
        let room = inner.uart.room();
        inner.starved |= room == 0;
        room
    }

    /// Calls `tell` whenever a caller that had been refused by [`room`](Self::room) or
    /// [`receive`](Self::receive) should try again: a reader appeared, or the FIFO is empty. It
    /// runs on the thread of a vCPU with no lock of the port held, and should only wake somebody.
    /// Replaces an earlier callback.
    pub fn on_room(&self, tell: Box<dyn Fn() + Send + Sync>) {
        *self.on_room.lock() = Some(Arc::from(tell));
    }

    /// The sink has room again: sends what waited.
    pub fn output_ready(&self) {
        self.change(|inner| inner.uart.drain(inner.output.as_mut()));
    }

    /// Sends the guest a break, which Linux takes as the SysRq key. Returns false if nobody reads
    /// or the FIFO is full.
    pub fn send_break(&self) -> bool {
        self.change(|inner| inner.uart.receive_break())
    }

    /// How many bytes the guest wrote although the transmitter was full; they are gone.
    pub fn dropped(&self) -> u64 {
        self.inner.lock().uart.dropped
    }

    /// Changes the chip, then tells everybody concerned.
    fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = change(&mut inner);
        inner.update_line();
        let tell = inner.has_room_again();
        drop(inner);
        if tell {
            let callback = self.on_room.lock().clone();
            if let Some(callback) = callback {
                callback();
            }
        }
        result
    }
}

impl Inner {
    fn update_line(&mut self) {
        let level = self.uart.line();
        if level != self.level {
            self.level = level;
            self.line.set_level(level);
        }
    }

    /// Waits for an empty FIFO, so that a burst costs one call and not one for each byte.
    fn has_room_again(&mut self) -> bool {
        let again = self.starved && self.uart.state.received.is_empty() && self.uart.room() > 0;
        self.starved &= !again;
        again
    }
}

impl Inspect for SerialPort {
    fn inspect(&self) -> Tree {
        let inner = self.inner.lock();
        let state = &inner.uart.state;
        Tree::new()
            .hex("interrupt_enable", state.interrupt_enable)
            .hex("fifo_control", state.fifo_control)
            .hex("line_control", state.line_control)
            .hex("modem_control", state.modem_control)
            .hex("modem_status", state.modem_status)
            .number("divisor", state.divisor)
            .flag("line_is_high", inner.level)
            .gauge("received_waiting", state.received.len() as u64)
            .gauge("unsent_waiting", state.unsent.len() as u64)
            .counter("dropped_bytes", inner.uart.dropped)
    }
}

impl DevicePio for SerialPort {
    /// Wider accesses reach one register after the other, as on an 8-bit bus.
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        self.change(|inner| {
            for (register, byte) in (offset..=u16::MAX).zip(data) {
                *byte = inner.uart.read(register);
            }
        });
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        self.change(|inner| {
            for (register, byte) in (offset..=u16::MAX).zip(data) {
                inner.uart.write(register, *byte, inner.output.as_mut());
            }
        });
    }
}

impl Lifecycle for SerialPort {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
