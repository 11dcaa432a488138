//! The devices of a PC: which there are, where, on which line, and their description to the guest.
//!
//! It plugs them into the buses of one machine, and knows what of its addresses is taken. It does not run
//! anything and loads nothing: a VMM leads the life of what is here. Start with [`Platform`].
#![forbid(unsafe_code)]

mod error;
mod map;
mod part;
mod pci;
mod platform;
pub mod sections;
mod table;
mod virtio;

pub use error::{PlatformError, SectionError};
pub use map::{FREE_MMIO, FREE_PORTS, check};
pub use part::{Part, PartDevice, Place};
pub use platform::{Platform, PlatformConfig, VirtioTransport};
pub use virtio::{Plugged, Wire, Wired, announce, plug_all as plug_virtio};
