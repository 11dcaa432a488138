//! vm-superio's devices on the bus: the small choice beside this crate's own.
//!
//! | | [`SuperioSerial`] | [`SerialPort`](crate::SerialPort) |
//! | - | - | - |
//! | interrupts | an edge each | the chip's level, behind OUT2 |
//! | input | 64 bytes at any time, read or not | 16 bytes, while the guest reads |
//! | output that has no room | is dropped and counted | waits, and the guest sees a full transmitter |
//! | FIFO control, break, line errors | ignored | as a 16550A has them |
//!
//! Take vm-superio's for a guest whose driver you know, such as a micro-guest or a kernel that only
//! prints; take this crate's own for a console that people type at. [`SuperioI8042`] knows the
//! command that resets the processor and nothing else.
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_device_bus::{AddressRange, IrqLine, PortBus};
//! use vmmkit_legacy_devices::{SerialOutput, SuperioSerial};
//!
//! struct Nowhere;
//! impl SerialOutput for Nowhere {
//!     fn push(&mut self, _byte: u8) -> bool {
//!         true
//!     }
//! }
//!
//! let port = Arc::new(SuperioSerial::new(Box::new(Nowhere), IrqLine::unconnected()));
//! let bus = PortBus::new();
//! let range = AddressRange::new(SuperioSerial::PORT.into(), SuperioSerial::LENGTH.into());
//! bus.plug(SuperioSerial::NAME, range, port.clone())?;
//!
//! assert_eq!(port.receive(b"x"), 1);
//! let mut byte = [0];
//! bus.read(0x3f8, &mut byte);
//! assert_eq!(&byte, b"x");
//! # Ok::<(), vmmkit_device_bus::PlugError>(())
//! ```

mod i8042;
mod serial;
mod state;

#[cfg(test)]
mod tests;

use std::convert::Infallible;

use vm_superio::Trigger;
use vmmkit_device_bus::{GuestRequest, IrqLine, RequestSink};

pub use i8042::SuperioI8042;
pub use serial::SuperioSerial;
/// All that the guest can see of a [`SuperioSerial`], and the bytes that it has not read.
pub use vm_superio::SerialState as SuperioSerialState;

/// An interrupt line as vm-superio triggers it: one edge.
struct Edge(IrqLine);

impl Trigger for Edge {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.pulse();
        Ok(())
    }
}

/// The reset that a keyboard controller of vm-superio triggers.
struct Reset(RequestSink);

impl Trigger for Reset {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        (self.0)(GuestRequest::Reset);
        Ok(())
    }
}
