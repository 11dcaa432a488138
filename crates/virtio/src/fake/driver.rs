//! A driver that keeps the rules.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vmmkit_device_bus::{Lifecycle, SavedState, StateError};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};

use super::attachment::{Attachment, TransportKind};
use super::bell::Bell;
use super::rings::Ring;
use crate::Device;
use crate::spec::{feature, mmio, status};

/// Where rings and buffers begin.
const RINGS: u64 = 1 << 20;

/// Why a driver cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The device did not take the features.
    #[error("the device takes no features {0:#x}")]
    Features(u64),
    /// The device needs a reset.
    #[error("the device needs a reset: {0}")]
    NeedsReset(String),
    /// Nothing came back in time.
    #[error("no answer of queue {0} in 30 s")]
    NoAnswer(u16),
    /// A queue has no such number, or no room.
    #[error("queue {0} is not there or has no room")]
    Queue(u16),
    /// The host refused something.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// The saved state was refused.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How a driver behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The features that it takes, of those that the device offers.
    pub features: u64,
    /// Queues are no larger than this.
    pub queue_size: u16,
    /// The guest's RAM.
    pub ram: RamConfig,
    /// The transport.
    pub transport: TransportKind,
    /// Packed queues are offered.
    pub packed: bool,
}

impl Default for Options {
    /// All features, full queues, 64 MiB, the transport of [`TransportKind::chosen`]; packed queues where
    /// the environment variable `VMMKIT_FAKE_RING` is `packed`.
    fn default() -> Self {
        Self {
            features: u64::MAX,
            queue_size: 256,
            ram: RamConfig {
                size: RamSize::mebibytes(64),
                ..RamConfig::default()
            },
            transport: TransportKind::chosen(),
            packed: std::env::var("VMMKIT_FAKE_RING").is_ok_and(|ring| ring == "packed"),
        }
    }
}

/// A driver of one device.
pub struct Driver {
    attachment: Attachment,
    ram: GuestRam,
    pub(super) bell: Arc<Bell>,
    features: u64,
    packed: bool,
    pub(super) rings: Vec<Ring>,
}

impl Driver {
    /// Drives `device` with all features that it has.
    ///
    /// # Errors
    /// [`DriverError`]: what the device or the host refused.
    pub fn start(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        Self::start_with(device, &Options::default())
    }

    /// Drives `device` as `options` say.
    ///
    /// # Errors
    /// [`DriverError`]: what the device or the host refused.
    pub fn start_with(device: Arc<dyn Device>, options: &Options) -> Result<Self, DriverError> {
        let mut driver = Self::attach(device, options)?;
        driver.initialise(options)?;
        Ok(driver)
    }

    /// A driver that has found its device, and not touched it yet.
    ///
    /// # Errors
    /// The host's.
    pub fn attach(device: Arc<dyn Device>, options: &Options) -> Result<Self, DriverError> {
        let ram = GuestRam::new(&options.ram).map_err(io::Error::other)?;
        let bell = Arc::new(Bell::default());
        let attachment = Attachment::new(options.transport, device, &ram, &bell)?;
        attachment.transport().offer_packed(options.packed);
        attachment.probe();
        Ok(Self {
            attachment,
            ram,
            bell,
            features: 0,
            packed: options.packed,
            rings: Vec::new(),
        })
    }

    /// Initialises the device (virtio 1.2, section 3.1), after a reset.
    ///
    /// # Errors
    /// [`DriverError::Features`], or a device that needs a reset at once.
    pub fn initialise(&mut self, options: &Options) -> Result<(), DriverError> {
        self.attachment.probe();
        self.write(mmio::STATUS, 0);
        self.attachment.bind();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let offered = self.offered_features();
        self.features = offered & (options.features | feature::VERSION_1);
        for half in 0..2 {
            self.write(mmio::DRIVER_FEATURES_SEL, half);
            self.write(mmio::DRIVER_FEATURES, (self.features >> (32 * half)) as u32);
        }
        self.add_status(status::FEATURES_OK);
        if self.status() & status::FEATURES_OK == 0 {
            return Err(DriverError::Features(self.features));
        }
        self.make_rings(options.queue_size);
        self.add_status(status::DRIVER_OK);
        self.check()
    }

    fn make_rings(&mut self, size: u16) {
        self.rings.clear();
        let count = self.attachment.transport().queue_count();
        // Each queue has an equal share of RAM for its rings and buffers.
        let share = (self.ram.size() - RINGS) / u64::from(count.max(1));
        let share = share & !0xfff;
        for index in 0..count {
            let most = self.attachment.transport().queue_most(index.into());
            let base = RINGS + share * u64::from(index);
            let ring = Ring::new(&self.ram, base, share, most.min(size), self.features);
            self.rings.push(ring);
            self.enable(index);
        }
    }

    /// Tells the device where queue `index` is, and enables it.
    pub fn enable(&self, index: u16) {
        let Some(layout) = self.rings.get(usize::from(index)).map(Ring::layout) else {
            return;
        };
        self.write(mmio::QUEUE_SEL, index.into());
        self.write(mmio::QUEUE_SIZE, layout.size.into());
        let parts = [
            (
                mmio::QUEUE_DESC_LOW,
                mmio::QUEUE_DESC_HIGH,
                layout.descriptors,
            ),
            (
                mmio::QUEUE_DRIVER_LOW,
                mmio::QUEUE_DRIVER_HIGH,
                layout.available,
            ),
            (mmio::QUEUE_DEVICE_LOW, mmio::QUEUE_DEVICE_HIGH, layout.used),
        ];
        for (low, high, address) in parts {
            self.write(low, address as u32);
            self.write(high, (address >> 32) as u32);
        }
        self.write(mmio::QUEUE_READY, 1);
    }

    /// Resets queue `index`, forgets what was under way in it, and enables it again
    /// (virtio 1.2, section 2.6.1).
    pub fn reset_queue(&mut self, index: u16) {
        self.write(mmio::QUEUE_SEL, index.into());
        self.write(mmio::QUEUE_RESET, 1);
        if let Some(ring) = self.rings.get_mut(usize::from(index)) {
            ring.clear();
        }
        self.enable(index);
    }

    /// Interrupts so far.
    pub fn interrupts(&self) -> u64 {
        self.bell.count()
    }

    /// Waits until there were more than `seen` interrupts, at most for `limit`; how many there were.
    pub fn wait_interrupt(&self, seen: u64, limit: Duration) -> u64 {
        self.bell.wait(seen, limit);
        self.bell.count()
    }

    /// The features that the driver took.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// The features that the device offers.
    pub fn offered_features(&self) -> u64 {
        let half = |half: u32| {
            self.write(mmio::DEVICE_FEATURES_SEL, half);
            u64::from(self.read(mmio::DEVICE_FEATURES)) << (32 * half)
        };
        half(0) | half(1)
    }

    /// The device status.
    pub fn status(&self) -> u8 {
        self.read(mmio::STATUS) as u8
    }

    /// Reads a register of the MMIO transport, or what another transport has in its place.
    pub fn read(&self, offset: u64) -> u32 {
        self.attachment.read(offset)
    }

    /// Writes a register of the MMIO transport, or what another transport has in its place.
    pub fn write(&self, offset: u64, value: u32) {
        self.attachment.write(offset, value);
    }

    /// Reads the configuration space.
    pub fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_config(offset, &mut bytes);
        bytes
    }

    /// Reads the configuration space.
    pub fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        self.attachment.read_config(offset, bytes);
    }

    /// Writes the configuration space.
    pub fn set_config(&self, offset: u64, bytes: &[u8]) {
        self.attachment.write_config(offset, bytes);
    }

    /// The device on its transport.
    pub fn transport(&self) -> &Attachment {
        &self.attachment
    }

    /// The guest's RAM.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Where queue `index` is.
    pub fn layout(&self, index: u16) -> crate::QueueLayout {
        let ring = self.rings.get(usize::from(index));
        ring.map(Ring::layout).unwrap_or_default()
    }

    /// Pauses the device, saves it, and goes on with `device`, which is made what the first one was,
    /// in the same RAM.
    ///
    /// # Errors
    /// [`DriverError::State`] where the new device does not take the state.
    pub fn move_to(&mut self, device: Arc<dyn Device>) -> Result<SavedState, DriverError> {
        self.attachment.pause();
        self.attachment.wait_paused();
        let kind = self.attachment.kind();
        let other = Attachment::new(kind, device, &self.ram, &self.bell)?;
        other.transport().offer_packed(self.packed);
        let state = self.attachment.hand_over(&other)?;
        self.attachment.stop();
        self.attachment = other;
        self.attachment.resume();
        Ok(state)
    }

    fn add_status(&self, bit: u8) {
        self.write(mmio::STATUS, u32::from(self.status() | bit));
    }

    pub(super) fn check(&self) -> Result<(), DriverError> {
        if self.status() & status::DEVICE_NEEDS_RESET == 0 {
            return Ok(());
        }
        let reason = self.attachment.transport().fault().reason();
        Err(DriverError::NeedsReset(reason.unwrap_or_default()))
    }

    /// Writes to RAM; what is not RAM stays as it is.
    pub fn poke(&self, address: u64, bytes: &[u8]) {
        let _ = self.ram.write_bytes(GuestAddress(address), bytes);
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("transport", &self.attachment)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}
