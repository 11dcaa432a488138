//! A PCI bus: configuration space by ports and by memory, base addresses that move, MSI-X.
//!
//! There is one bus, number 0, with up to 32 devices of one function each and no interrupt pins:
//! functions interrupt by MSI-X. A function implements [`PciFunction`]; [`PciBus`] places its base
//! addresses as firmware would and plugs them into the memory bus wherever the guest moves them.
//! No functions but the [`HostBridge`], and the bridges of a Q35 that UEFI firmware looks for ([`Q35HostBridge`],
//! [`IsaBridge`]), are in this crate, and no hypervisor: a vector is a
//! [`MsiVector`](vmmkit_device_bus::MsiVector). Start with [`PciBus`], [`ConfigSpace`] and [`Msix`].
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_device_bus::{AddressRange, MmioBus, PortBus};
//! use vmmkit_pci::{ConfigPorts, Ecam, HostBridge, PciBus, PciLayout};
//!
//! let (ports, memory) = (PortBus::new(), Arc::new(MmioBus::new()));
//! let layout = PciLayout::default();
//! let bus = Arc::new(PciBus::new(&memory, layout));
//! bus.plug(Arc::new(HostBridge::new()))?;
//! ports.plug(ConfigPorts::NAME, ConfigPorts::RANGE, Arc::new(ConfigPorts::new(bus.clone(), None)))?;
//! memory.plug(Ecam::NAME, layout.ecam, Arc::new(Ecam::new(bus)))?;
//!
//! // Configuration mechanism 1: device 0, register 8, the class.
//! ports.write(0xcf8, &0x8000_0008_u32.to_le_bytes());
//! let mut class = [0; 4];
//! ports.read(0xcfc, &mut class);
//! assert_eq!(class[1..], [0, 0, 6], "a host bridge");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bus;
mod config;
mod ecam;
mod endpoint;
mod function;
mod host_bridge;
mod layout;
mod msix;
mod ports;
mod q35;
pub mod spec;
mod state;

/// The lock of [`PciFunction::config`]: that of parking_lot 0.12.
pub use parking_lot::Mutex;

pub use bus::{PciBus, PciError};
pub use config::{ConfigError, ConfigSpace, Identity};
pub use ecam::Ecam;
pub use endpoint::{MsixEndpoint, MsixEndpointState};
pub use function::PciFunction;
pub use host_bridge::HostBridge;
pub use layout::PciLayout;
pub use msix::{Msix, MsixError, MsixState, MsixVectorState};
pub use ports::ConfigPorts;
pub use q35::{IsaBridge, Q35HostBridge};
