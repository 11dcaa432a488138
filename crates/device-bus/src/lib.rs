//! The buses of a guest: who owns a port or an address, the interrupt lines that devices may
//! raise, and dispatch of the guest's accesses without a lock.
//!
//! Devices implement vm-device's [`DevicePio`] or [`DeviceMmio`] and plug in unchanged; this crate
//! has no device of its own, does not know who runs the guest and needs no hypervisor. Start with
//! [`PortBus`] and [`MmioBus`], and give each vCPU thread its own [`BusView`].
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use vmmkit_device_bus::{AddressRange, MutDevicePio, PioAddress, PioAddressOffset, PortBus};
//!
//! /// A register that remembers the last byte written.
//! struct Scratch(u8);
//!
//! impl MutDevicePio for Scratch {
//!     fn pio_read(&mut self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
//!         data.fill(self.0);
//!     }
//!     fn pio_write(&mut self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
//!         self.0 = data.last().copied().unwrap_or(self.0);
//!     }
//! }
//!
//! let ports = Arc::new(PortBus::new());
//! ports.plug("scratch", AddressRange::new(0x80, 1), Arc::new(Mutex::new(Scratch(0))))?;
//!
//! let mut view = ports.view();
//! view.write(0x80, &[42]);
//! let mut byte = [0];
//! view.read(0x80, &mut byte);
//! assert_eq!(byte, [42]);
//! # Ok::<(), vmmkit_device_bus::PlugError>(())
//! ```
//!
//! # What an access does
//!
//! - A device gets the bytes of the access as they are, as one slice, little-endian: 1, 2 or 4 of
//!   them from a port, 1 to 8 from memory. What a width means that its registers do not have is
//!   the device's to say; it must not panic on any length.
//! - Bytes that nobody owns read as ones, are dropped when written, and are [counted](Unclaimed).
//! - An access that crosses the end of a range is split there, as a chipset does: each owner gets
//!   its part as an access of its own, lowest address first, and the rest is unclaimed. Nothing
//!   wraps from the end of an address space to its start.
#![forbid(unsafe_code)]

mod bus;
mod error;
mod hint;
mod id;
mod lifecycle;
mod line;
mod map;
mod msi;
mod range;
mod report;
mod request;
mod space;
#[cfg(feature = "saved-state")]
pub mod state;
mod tally;
mod unclaimed;
mod view;

pub use bus::{Bus, MmioBus, Plug, PortBus, RegionInfo};
pub use error::PlugError;
pub use id::DeviceId;
pub use lifecycle::{Lifecycle, bring_to_rest};
pub use line::{Gsi, IrqLine, LineDriver};
pub use msi::{MessageVector, MsiMessage, MsiVector};
pub use range::AddressRange;
pub use request::{GuestRequest, RequestSink};
pub use space::{Mmio, Ports, Space};
#[cfg(feature = "saved-state")]
pub use state::{SaveState, SavedState, StateError, StateForm, StateReason, check_golden};
pub use tally::{AccessCounter, AccessCounts, OwnerAccesses};
pub use unclaimed::Unclaimed;
pub use view::BusView;
/// Devices on the buses implement its traits.
pub use vm_device;
pub use vm_device::bus::{MmioAddress, MmioAddressOffset, PioAddress, PioAddressOffset};
pub use vm_device::{DeviceMmio, DevicePio, MutDeviceMmio, MutDevicePio};
