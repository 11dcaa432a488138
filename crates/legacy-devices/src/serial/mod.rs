//! The serial port: a 16550A (National Semiconductor PC16550D).
//!
//! # Why an own core
//!
//! vm-superio's `Serial` is small and well tested: [`SuperioSerial`](crate::SuperioSerial) is it on the
//! bus, and both pass the same tests. It is not the core here because it ignores FCR, joins
//! causes in IIR instead of choosing one, does not raise "data available" again while bytes
//! remain, knows only edges, and writes and flushes each byte on the thread of the vCPU.
//!
//! # What differs from the chip
//!
//! - A byte takes no time: it is sent when it is written, if the sink has room.
//! - The character timeout has always elapsed: bytes below the trigger level interrupt at once,
//!   identified as a timeout.
//! - Words have 8 bits and no parity, whatever LCR says.
//! - The other end is always there: CTS, DSR and DCD are on outside loopback.
//!
//! The interrupt line is high while an interrupt is pending and MCR.OUT2 is set, as on a PC, where
//! OUT2 drives the gate between chip and bus.

mod port;
pub mod spec;
mod state;
mod uart;

pub use port::SerialPort;
pub use uart::SerialState;

/// Where a serial port's output goes. It is called on the thread of a vCPU for every byte, with
/// the port locked: it keeps the byte and returns, with no system call for each.
pub trait SerialOutput: Send {
    /// Takes `byte`, or returns false because it is full. After false, the owner calls
    /// [`SerialPort::output_ready`] once there is room.
    fn push(&mut self, byte: u8) -> bool;
}
