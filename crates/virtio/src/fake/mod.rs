//! The driver's side of a device, for tests: it negotiates, makes rings in RAM of its own, sends
//! requests and waits for answers, by way of the MMIO transport's registers or of a PCI bus, without KVM.
//!
//! [`Driver`] keeps the rules; [`hostile`] breaks them.

mod attachment;
mod bell;
mod buffers;
mod driver;
pub mod hostile;
mod packed;
mod pci;
mod requests;
mod rings;
mod split;

#[cfg(test)]
pub(crate) use packed::PackedSide;

pub use attachment::{Attachment, TransportKind};
pub use driver::{Driver, DriverError, Options};
pub use pci::PciSlot;
