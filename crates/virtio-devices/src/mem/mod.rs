//! Memory that comes and goes (section 5.15, virtio-mem): an area of addresses above RAM, whose blocks
//! the guest plugs until it has as much as the host asks for, and gives back when it asks for less.
//!
//! It stands in the place of ACPI's memory hot-plug, which needs a notification to the guest (a GED and
//! AML that asks for registers), adds whole modules, and gets one back only where the guest has freed
//! every page of it. Here a queue and 2 MiB are enough, and drivers of Linux are in every
//! distribution's kernel. QEMU and Cloud Hypervisor have the same device.
//!
//! All of the area is mapped from the start, and a block that is not plugged is only not paid for: a
//! guest that touches one gets zeroes, and memory of the host's, until it unplugs all or is reset.
//! VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE is not offered, as nothing enforces it. So the size of the area
//! is what a guest can use at most; the size that is asked for is a wish, as it is of a balloon.

mod area;
mod engine;
mod error;
mod request;
mod shared;
mod spec;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::SaveState;
use vmmkit_guest_memory::{BLOCK_SIZE, GuestRam};
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind};

pub use area::{MemArea, Released};
use engine::MemEngine;
pub use error::MemError;
pub use request::{MemAnswer, MemBlocks, MemRequest, MemState};
use shared::Shared;

/// Counts of events, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemCounters {
    /// Requests that plugged blocks.
    pub plugs: u64,
    /// Requests that took blocks away.
    pub unplugs: u64,
    /// Requests for the state of blocks.
    pub states: u64,
    /// Requests to plug more than was asked for.
    pub refused: u64,
    /// Requests for blocks that there are not, or in another state.
    pub errors: u64,
    /// Requests that are none, or have no room for an answer.
    pub malformed: u64,
    /// Bytes that went back to the host. What was never touched counts too.
    pub discarded_bytes: u64,
}

/// A memory device. Its verbs may be called from any thread at any time.
///
/// A VMM maps [`Device::memory`] besides RAM, and gives devices the two [joined](GuestRam::joined).
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_guest_memory::{GuestRam, RamConfig};
/// use vmmkit_virtio_devices::Mem;
///
/// let config = RamConfig { max: Some("1G".parse()?), ..RamConfig::default() };
/// let area = GuestRam::pluggable(&config)?.ok_or("there is a max")?;
/// let mem = Arc::new(Mem::new(area)?);
/// mem.request(512 << 20)?;
/// assert_eq!((mem.requested(), mem.plugged(), mem.size()), (512 << 20, 0, 768 << 20));
/// assert!(mem.request(1 << 30).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mem {
    shared: Arc<Shared>,
}

impl Mem {
    /// A device whose blocks are those of `memory`, none of them plugged.
    ///
    /// # Errors
    /// [`MemError::Area`] where that is not one range of whole blocks.
    pub fn new(memory: GuestRam) -> Result<Self, MemError> {
        let area = match memory.regions() {
            [region] => MemArea::new(region.guest_address.0, region.size),
            _ => None,
        };
        let area = area.ok_or(MemError::Area)?;
        Ok(Self {
            shared: Arc::new(Shared::new(memory, area)),
        })
    }

    /// The area as memory of the guest, for the hypervisor to map.
    pub fn memory(&self) -> &GuestRam {
        self.shared.memory()
    }

    /// Bytes of the area: the most that can be plugged.
    pub fn size(&self) -> u64 {
        self.shared.area().size()
    }

    /// Bytes that are plugged.
    pub fn plugged(&self) -> u64 {
        self.shared.area().plugged()
    }

    /// Bytes that should be plugged.
    pub fn requested(&self) -> u64 {
        self.shared.area().requested()
    }

    /// Asks the guest to plug memory, or to give it back, until `bytes` are plugged. It does as well
    /// as it can, and may take long or never be there: a block that holds a page which cannot be moved
    /// stays plugged.
    ///
    /// # Errors
    /// [`MemError`] for a size that is not a multiple of [`BLOCK_SIZE`], or more than there is.
    pub fn request(&self, bytes: u64) -> Result<(), MemError> {
        let mut area = self.shared.area();
        if !area.request(bytes) {
            let most = area.size();
            return Err(match bytes > most {
                true => MemError::TooMuch { bytes, most },
                false => MemError::Fraction { bytes },
            });
        }
        drop(area);
        self.shared.tell();
        Ok(())
    }

    /// The counters.
    pub fn counters(&self) -> MemCounters {
        self.shared.counters()
    }
}

impl Device for Mem {
    fn kind(&self) -> DeviceKind {
        DeviceKind::MEMORY
    }

    fn memory(&self) -> Option<&GuestRam> {
        Some(self.shared.memory())
    }

    fn unsaved(&self) -> Option<&'static str> {
        Some("what its blocks hold is not saved")
    }

    /// No block is plugged any more, and all are the host's again. A driver that only resets the device
    /// keeps them (5.15.6.2).
    fn power_on(&self) {
        self.shared.power_on();
    }

    fn inspect(&self) -> Tree {
        let counters = self.counters();
        let area = self.shared.area();
        Tree::new()
            .hex("address", area.start())
            .number("size", area.size())
            .number("block_size", BLOCK_SIZE)
            .gauge("requested_bytes", area.requested())
            .gauge("plugged_bytes", area.plugged())
            .counter("plugs", counters.plugs)
            .counter("unplugs", counters.unplugs)
            .counter("states", counters.states)
            .counter("refused", counters.refused)
            .counter("errors", counters.errors)
            .counter("malformed", counters.malformed)
            .counter("discarded_bytes", counters.discarded_bytes)
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let config = self.shared.config();
        for (byte, value) in bytes.iter_mut().zip(config.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn connect(&self, change: ConfigChange) {
        self.shared.connect(change);
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        activation.on_one_thread(Box::new(MemEngine::new(self.shared.clone())))
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem")
            .field("memory", self.memory())
            .field("plugged", &self.plugged())
            .field("requested", &self.requested())
            .field("counters", &self.counters())
            .finish()
    }
}
