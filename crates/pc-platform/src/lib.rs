//! The devices of a PC: which there are, where, on which line, and their description to the guest.
//!
//! It plugs them into the buses of one machine, and knows what of its addresses is taken. It does not run
//! anything and loads nothing: a VMM leads the life of what is here. Start with [`Platform`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use vmmkit_guest_memory::{GuestRam, RamConfig};
//! use vmmkit_host_io::Stopwatch;
//! use vmmkit_hypervisor::fake::FakeHypervisor;
//! use vmmkit_hypervisor::{Hypervisor, Irqchip, VmSettings};
//! use vmmkit_legacy_devices::SerialOutput;
//! use vmmkit_pc_platform::Platform;
//!
//! /// Drops the text.
//! struct Nowhere;
//!
//! impl SerialOutput for Nowhere {
//!     fn push(&mut self, _byte: u8) -> bool {
//!         true
//!     }
//! }
//!
//! let irqchip = Irqchip::InKernel { pit: true };
//! let vm = Arc::new(FakeHypervisor::new().create_vm(&VmSettings::new(irqchip))?);
//! let ram = GuestRam::new(&RamConfig::default())?;
//! let requests = Arc::new(|request| println!("the guest asks for {request:?}"));
//! let clock = Arc::new(Stopwatch::default());
//! let platform = Platform::plug(&vm, irqchip, requests, &ram, Box::new(Nowhere), clock)?;
//! // The line status register of the first serial port: ready for a byte.
//! let mut status = [0];
//! platform.ports.read(0x3fd, &mut status);
//! assert_eq!(status, [0x60]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod description;
mod error;
mod firmware;
mod form;
mod generation;
mod map;
mod needs;
mod own;
mod own_pci;
mod part;
mod pci;
mod platform;
mod plugged;
mod save_error;
mod saved_ram;
mod saving_ram;
pub mod sections;
mod table;
mod virtio;
mod virtio_places;

pub use description::{DescribedDevices, Description, PlatformConfig};
pub use error::{PlatformError, SectionError};
pub use form::MachineForm;
pub use generation::Generation;
pub use map::{FREE_MMIO, FREE_PORTS};
pub use needs::Needs;
pub use own::{NoRoom, OwnDevice, OwnDevices, OwnPlace, Slot};
pub use own_pci::PciSlot;
pub use part::{Part, PartDevice, Place};
pub use platform::Platform;
pub use plugged::Plugged;
pub use save_error::SaveError;
pub use saved_ram::{Extent, SaveRamError, SavedRam, SavedRamError};
pub use saving_ram::{Ahead, LoggedVm, RamSaver, SavedVm};
pub use virtio::{Wire, Wired, plug_all as plug_virtio};
pub use virtio_places::{VirtioTransport, announce};
