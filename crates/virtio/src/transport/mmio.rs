//! The transport by memory-mapped registers, version 2 (section 4.2).

mod interrupts;
mod state;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{DeviceMmio, Lifecycle, MmioAddress, MmioAddressOffset};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_telemetry::{Inspect, Tree};

use super::Transport;
use super::setup::QueuePart;
use crate::spec::mmio;
use crate::{Device, Signal};
use interrupts::MmioInterrupts;

/// A device behind the registers of section 4.2.2: 4 KiB of memory and one interrupt.
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_device_bus::{DeviceMmio, IrqLine, MmioAddress};
/// use vmmkit_guest_memory::GuestRam;
/// # use vmmkit_virtio::{Activation, ActivateError, Active, Device, DeviceKind};
/// use vmmkit_virtio::MmioTransport;
/// # struct MyDevice;
/// # impl Device for MyDevice {
/// #     fn kind(&self) -> DeviceKind { DeviceKind::ENTROPY }
/// #     fn queue_sizes(&self) -> &[u16] { &[8] }
/// #     fn activate(&self, _: Activation) -> Result<Box<dyn Active>, ActivateError> {
/// #         Err(ActivateError::MissingQueue(0))
/// #     }
/// # }
///
/// let ram = GuestRam::new(&Default::default())?;
/// let line = Arc::new(IrqLine::unconnected());
/// let transport = MmioTransport::new("rng0", Arc::new(MyDevice), &ram, line)?;
/// let mut magic = [0; 4];
/// transport.mmio_read(MmioAddress(0xd000_0000), 0, &mut magic);
/// assert_eq!(&magic, b"virt");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MmioTransport {
    transport: Transport,
    interrupts: Arc<MmioInterrupts>,
    selectors: Mutex<Selectors>,
}

/// The selectors of the registers. They are the driver's own between two accesses.
#[derive(Clone, Copy, Debug, Default)]
struct Selectors {
    device_features: u32,
    driver_features: u32,
    queue: u32,
}

impl MmioTransport {
    /// `device`, called `name` in the machine, that interrupts by `signal`.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(
        name: &str,
        device: Arc<dyn Device>,
        ram: &GuestRam,
        signal: Arc<dyn Signal>,
    ) -> io::Result<Self> {
        let interrupts = Arc::new(MmioInterrupts::new(signal));
        Ok(Self {
            transport: Transport::new(name, device, ram, interrupts.clone())?,
            interrupts,
            selectors: Mutex::default(),
        })
    }

    /// The common part of every transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The eventfd that the hypervisor may raise for a write of [`INT_VRING`](mmio::INT_VRING) to
    /// [`INTERRUPT_ACK`](mmio::INTERRUPT_ACK), in place of the write: the driver makes one for each
    /// interrupt.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn acknowledgement(&self) -> io::Result<&EventFd> {
        self.interrupts.taken()
    }

    fn read(&self, offset: u64) -> u32 {
        let transport = &self.transport;
        let selectors = *self.selectors();
        let queue = selectors.queue;
        match offset {
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION => mmio::VERSION_2,
            mmio::DEVICE_ID => transport.kind().id(),
            mmio::VENDOR_ID => mmio::VENDOR,
            mmio::DEVICE_FEATURES => half(transport.offered_features(), selectors.device_features),
            mmio::QUEUE_SIZE_MAX => transport.queue_most(queue).into(),
            mmio::QUEUE_READY => transport.is_queue_enabled(queue).into(),
            mmio::INTERRUPT_STATUS => self.interrupts.status(),
            mmio::STATUS => transport.status().into(),
            // No device has a shared memory region here (4.2.2).
            mmio::SHM_LEN_LOW..=mmio::SHM_BASE_HIGH => u32::MAX,
            mmio::CONFIG_GENERATION => transport.config_generation(),
            // The rest is write-only or nothing. A reset of a queue has ended when it is read.
            _ => 0,
        }
    }

    fn write(&self, offset: u64, value: u32) {
        let transport = &self.transport;
        let selectors = *self.selectors();
        let queue = selectors.queue;
        let part = |part, is_upper| transport.set_queue_part(queue, part, is_upper, value);
        match offset {
            mmio::DEVICE_FEATURES_SEL => self.selectors().device_features = value,
            mmio::DRIVER_FEATURES_SEL => self.selectors().driver_features = value,
            mmio::DRIVER_FEATURES => {
                transport.set_driver_features(selectors.driver_features, value);
            }
            mmio::QUEUE_SEL => self.selectors().queue = value,
            mmio::QUEUE_SIZE => transport.set_queue_size(queue, value),
            mmio::QUEUE_READY if value == 0 => transport.reset_queue(queue),
            mmio::QUEUE_READY => transport.enable_queue(queue),
            mmio::QUEUE_NOTIFY => transport.notify(value),
            mmio::INTERRUPT_ACK => self.interrupts.acknowledge(value),
            mmio::STATUS => self.write_status(value),
            mmio::QUEUE_DESC_LOW => part(QueuePart::Descriptors, false),
            mmio::QUEUE_DESC_HIGH => part(QueuePart::Descriptors, true),
            mmio::QUEUE_DRIVER_LOW => part(QueuePart::Driver, false),
            mmio::QUEUE_DRIVER_HIGH => part(QueuePart::Driver, true),
            mmio::QUEUE_DEVICE_LOW => part(QueuePart::Device, false),
            mmio::QUEUE_DEVICE_HIGH => part(QueuePart::Device, true),
            mmio::QUEUE_RESET if value == 1 => transport.reset_queue(queue),
            // Read-only, or nothing.
            _ => {}
        }
    }

    fn write_status(&self, value: u32) {
        // The register has 32 bits, the status 8.
        self.transport.set_status(value as u8);
        if value as u8 == 0 {
            self.forget();
        }
    }

    /// As at power-on.
    fn forget(&self) {
        *self.selectors() = Selectors::default();
        self.interrupts.forget();
    }

    fn selectors(&self) -> MutexGuard<'_, Selectors> {
        self.selectors.lock()
    }
}

/// The half of features that a selector is for; nothing beyond the second.
fn half(features: u64, selector: u32) -> u32 {
    match selector {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

impl DeviceMmio for MmioTransport {
    /// Registers are read with 4 bytes at a multiple of 4, the configuration as it comes (4.2.2.2);
    /// anything else reads as zeroes.
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        if let Some(config) = offset.checked_sub(mmio::CONFIG) {
            return self
                .transport
                .read_config(usize::try_from(config).unwrap_or(usize::MAX), data);
        }
        data.fill(0);
        if let (4, true) = (data.len(), offset.is_multiple_of(4)) {
            data.copy_from_slice(&self.read(offset).to_le_bytes());
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if let Some(config) = offset.checked_sub(mmio::CONFIG) {
            return self
                .transport
                .write_config(usize::try_from(config).unwrap_or(usize::MAX), data);
        }
        if let (Ok(bytes), true) = (<[u8; 4]>::try_from(data), offset.is_multiple_of(4)) {
            self.write(offset, u32::from_le_bytes(bytes));
        }
    }
}

impl Inspect for MmioTransport {
    fn inspect(&self) -> Tree {
        self.transport.inspect()
    }
}

impl Lifecycle for MmioTransport {
    fn pause(&self) {
        self.transport.pause();
    }

    fn wait_paused(&self) {
        self.transport.wait_paused();
    }

    fn wait_paused_until(&self, deadline: Instant) -> bool {
        self.transport.wait_paused_until(deadline)
    }

    fn resume(&self) {
        self.transport.resume();
    }

    fn reset(&self) {
        self.transport.reset();
        self.forget();
    }

    fn stop(&self) {
        self.transport.stop();
    }
}

impl fmt::Debug for MmioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmioTransport")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
