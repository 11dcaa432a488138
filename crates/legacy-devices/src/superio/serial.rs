//! vm-superio's serial port.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use vm_superio::Serial;
use vm_superio::serial::NoEvents;
use vmmkit_device_bus::{DevicePio, IrqLine, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use super::{Edge, SuperioSerialState};
use crate::SerialOutput;

/// vm-superio's `Serial` as a device that plugs into a bus. Any thread may call anything; the output and
/// the line are called with the port locked, and must not call back.
pub struct SuperioSerial {
    inner: Mutex<Inner>,
}

struct Inner {
    serial: Serial<Edge, NoEvents, Output>,
    dropped: u64,
    // Wiring, for a serial port in another state.
    output: Output,
    line: IrqLine,
}

/// The output as vm-superio writes to it: one byte at a time.
#[derive(Clone)]
struct Output(Arc<Mutex<Box<dyn SerialOutput>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(&byte) = bytes.first() else {
            return Ok(0);
        };
        match self.0.lock().push(byte) {
            true => Ok(1),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A state that vm-superio refuses: more unread bytes than its FIFO has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FullFifo;

impl SuperioSerial {
    /// Its name on a bus.
    pub const NAME: &'static str = "serial";
    /// The first port of COM1.
    pub const PORT: u16 = 0x3f8;
    /// How many ports it has.
    pub const LENGTH: u16 = 8;

    /// A port as after power-on.
    pub fn new(output: Box<dyn SerialOutput>, line: IrqLine) -> Self {
        let output = Output(Arc::new(Mutex::new(output)));
        let serial = Serial::new(Edge(line.clone()), output.clone());
        let inner = Inner {
            serial,
            dropped: 0,
            output,
            line,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Takes bytes for the guest; returns how many, from the front: as many as there is room for, and
    /// none in loopback mode.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let accepted = self.inner.lock().serial.enqueue_raw_bytes(bytes);
        // The only failure is a FIFO without room.
        accepted.unwrap_or(0)
    }

    /// How many bytes [`receive`](Self::receive) would take now: 0 to 64.
    pub fn room(&self) -> usize {
        self.inner.lock().serial.fifo_capacity()
    }

    /// How many bytes the guest wrote that the output had no room for; they are gone.
    pub fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// All that the guest can see.
    pub fn state(&self) -> SuperioSerialState {
        self.inner.lock().serial.state()
    }

    /// Goes back to power-on. Unread input is gone.
    pub fn reset(&self) {
        // A state without unread bytes is never refused.
        let _ = self.go_to(&SuperioSerialState::default());
    }

    /// Goes to `state`, and triggers the interrupts that are pending in it.
    pub(super) fn go_to(&self, state: &SuperioSerialState) -> Result<(), FullFifo> {
        let mut inner = self.inner.lock();
        let (edge, output) = (Edge(inner.line.clone()), inner.output.clone());
        inner.serial = Serial::from_state(state, edge, NoEvents, output).map_err(|_| FullFifo)?;
        Ok(())
    }
}

impl DevicePio for SuperioSerial {
    /// Wider accesses reach one register after the other, as on an 8-bit bus.
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let mut inner = self.inner.lock();
        for (register, byte) in (offset..=u16::MAX).zip(data) {
            *byte = u8::try_from(register).map_or(0xff, |register| inner.serial.read(register));
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let mut inner = self.inner.lock();
        for (register, byte) in (offset..=u16::MAX).zip(data) {
            let Ok(register) = u8::try_from(register) else {
                return;
            };
            // A bus has no error to give a guest: what the output refused is counted.
            if inner.serial.write(register, *byte).is_err() {
                inner.dropped += 1;
            }
        }
    }
}

impl Lifecycle for SuperioSerial {
    fn reset(&self) {
        self.reset();
    }
}

impl Inspect for SuperioSerial {
    fn inspect(&self) -> Tree {
        let inner = self.inner.lock();
        let state = inner.serial.state();
        Tree::new()
            .hex("interrupt_enable", state.interrupt_enable)
            .hex("line_control", state.line_control)
            .hex("modem_control", state.modem_control)
            .hex("modem_status", state.modem_status)
            .gauge("received_waiting", state.in_buffer.len() as u64)
            .counter("dropped_bytes", inner.dropped)
    }
}

impl fmt::Debug for SuperioSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuperioSerial")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
