//! The driver's side of a device, for tests: it negotiates, makes rings in RAM of its own, sends
//! requests and waits for answers, by way of the registers of the MMIO transport, without KVM.
//!
//! [`Driver`] keeps the rules; [`hostile`] breaks them.

mod driver;
pub mod hostile;
mod requests;
mod rings;

pub use driver::{Driver, DriverError, Options};
