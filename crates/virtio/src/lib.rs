//! Virtqueues and transports after virtio 1.2: everything of a paravirtual device but the device.
//!
//! A device implements [`Device`]: what it is, its features, its configuration space, and one or
//! more [`Engine`]s that own its queues while a driver runs it, each on a thread of its own or on one
//! that slow devices share. It does not know its transport, and none of its code can be reached by a ring that breaks the rules: a
//! [`Chain`] holds checked ranges of RAM only. [`Transport`] is the driver's other side (status,
//! features, queues, interrupts); [`MmioTransport`] shows it as registers, [`PciTransport`] as a PCI
//! function. [`fake::Driver`] is the driver's side for tests, without KVM.
//!
//! There is no device in this crate (`vmmkit-virtio-devices` has them), and no hypervisor: an
//! interrupt is a [`Signal`], a kick an eventfd.
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_virtio::fake::Driver;
//! use vmmkit_virtio::{Activation, ActivateError, Active, Chain, Context, Device, DeviceKind, Engine};
//!
//! /// A source of nothing but zeroes, in the form of an entropy device.
//! struct Zeroes;
//!
//! impl Device for Zeroes {
//!     fn kind(&self) -> DeviceKind {
//!         DeviceKind::ENTROPY
//!     }
//!     fn queue_sizes(&self) -> &[u16] {
//!         &[8]
//!     }
//!     fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
//!         activation.on_one_thread(Box::new(ZeroesEngine(Chain::new())))
//!     }
//! }
//!
//! struct ZeroesEngine(Chain);
//!
//! impl Engine for ZeroesEngine {
//!     fn kicked(&mut self, context: &mut Context, index: u16) {
//!         let Some(queue) = context.queues.get_mut(index) else {
//!             return;
//!         };
//!         while queue.pop(&mut self.0) {
//!             let mut writer = self.0.writer(queue.ram());
//!             while writer.write(&[0; 64]) > 0 {}
//!             let written = writer.written();
//!             queue.complete(&self.0, written);
//!         }
//!         queue.publish();
//!     }
//! }
//!
//! let mut driver = Driver::start(Arc::new(Zeroes))?;
//! let answer = driver.request(0, &[], &[100])?;
//! assert_eq!(answer, [0; 100]);
//! # Ok::<(), vmmkit_virtio::fake::DriverError>(())
//! ```
#![forbid(unsafe_code)]

mod device;
mod engine;
pub mod fake;
mod interrupt;
mod kind;
mod queue;
pub mod spec;
mod transport;

pub use device::{ActivateError, Activation, Active, ConfigChange, Device};
pub use engine::{Context, DeviceThreads, Engine, Queues};
pub use interrupt::{Fault, Interrupts, QueueInterrupt, Signal, TransportEvent, Watcher};
pub use kind::DeviceKind;
pub use queue::{
    Chain, PackedRing, Queue, QueueLayout, QueueState, Reader, RingError, SplitRing, Writer,
};
pub use transport::{Doorbells, MmioTransport, PciTransport, QueuePart, Transport};
