//! The devices every PC has had since before PCI, as far as a guest still needs them: the 16550A
//! serial port, the i8042 keyboard controller, the CMOS clock, the ACPI power management block,
//! the I/O APIC, a flash chip, and the ports for reset, debug exit, POST codes and the guest's panic.
//!
//! [`superio`] has vm-superio's serial port and keyboard controller as a smaller choice.
//!
//! They open no file, start no thread and read no clock: bytes, time and requests go through what
//! the owner passes in, and they plug into vmmkit-device-bus as they are. Start with
//! [`SerialPort`].
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use vmmkit_device_bus::{AddressRange, IrqLine, PortBus};
//! use vmmkit_legacy_devices::{SerialOutput, SerialPort};
//!
//! /// Keeps what the guest wrote.
//! struct Screen(Arc<Mutex<Vec<u8>>>);
//!
//! impl SerialOutput for Screen {
//!     fn push(&mut self, byte: u8) -> bool {
//!         self.0.lock().is_ok_and(|mut bytes| { bytes.push(byte); true })
//!     }
//! }
//!
//! let screen = Arc::new(Mutex::new(Vec::new()));
//! let port = SerialPort::new(Box::new(Screen(screen.clone())), IrqLine::unconnected());
//! let bus = PortBus::new();
//! let range = AddressRange::new(SerialPort::PORT.into(), SerialPort::LENGTH.into());
//! bus.plug(SerialPort::NAME, range, Arc::new(port))?;
//!
//! bus.write(0x3f8, b"A");
//! assert_eq!(screen.lock().unwrap().as_slice(), b"A");
//! # Ok::<(), vmmkit_device_bus::PlugError>(())
//! ```
#![forbid(unsafe_code)]

pub mod acpi_pm;
pub mod cmos;
pub mod debug_exit;
pub mod flash;
pub mod i8042;
pub mod ioapic;
pub mod pvpanic;
pub mod reset;
pub mod serial;
pub mod superio;

#[cfg(test)]
mod tests;

pub use acpi_pm::{AcpiPm, AcpiPmState};
pub use cmos::{Cmos, CmosState};
pub use debug_exit::{DebugConsole, DebugExit, PostCode, SystemControlB};
pub use flash::{Flash, FlashSizeError, FlashStore};
pub use i8042::{I8042, I8042State};
pub use ioapic::{Ioapic, IoapicOutput, IoapicState};
pub use pvpanic::Pvpanic;
pub use reset::ResetControl;
pub use serial::{SerialOutput, SerialPort, SerialState};
/// [`SuperioSerial`] and [`SuperioI8042`] are made of it.
pub use vm_superio;

pub use superio::{SuperioI8042, SuperioSerial, SuperioSerialState};
