//! QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg.rst): items that firmware, and a guest's
//! `qemu_fw_cfg` driver, read by two ports or by DMA.
//!
//! It has items with numbers and files with names, and knows no machine: the owner says what each one holds.
//! A guest reads; nothing is written, and a request to write fails. Start with [`Items`] and [`FwCfg`].
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_device_bus::{AddressRange, PortBus};
//! use vmmkit_fw_cfg::{FwCfg, Items};
//! use vmmkit_guest_memory::{GuestRam, RamConfig};
//!
//! let ram = GuestRam::new(&RamConfig::default())?;
//! let mut items = Items::new().with_cpus(2, 2);
//! // SeaBIOS shows its console on the first serial port.
//! items.add_file("etc/sercon-port", 0x3f8_u64.to_le_bytes())?;
//! let device = Arc::new(FwCfg::new(items, &ram));
//! let bus = PortBus::new();
//! let range = AddressRange::new(FwCfg::PORT.into(), FwCfg::LENGTH.into());
//! bus.plug(FwCfg::NAME, range, device)?;
//!
//! bus.write(0x510, &[0, 0]);
//! let mut signature = [0; 4];
//! for byte in &mut signature {
//!     bus.read(0x511, std::slice::from_mut(byte));
//! }
//! assert_eq!(&signature, b"QEMU");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod device;
mod dma;
mod items;
pub mod spec;
mod state;

pub use device::FwCfg;
pub use items::{FileError, Items};
