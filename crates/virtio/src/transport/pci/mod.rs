//! The transport by PCI (section 4.1), not transitional.

mod common;
mod doorbells;
mod interrupts;
mod regions;
mod state;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{Lifecycle, MsiVector};
use vmmkit_guest_memory::GuestRam;
use vmmkit_pci::{ConfigSpace, Msix, PciFunction};
use vmmkit_telemetry::{Inspect, Tree};

use self::common::Selectors;
use self::doorbells::Bells;
use self::interrupts::PciInterrupts;
use self::regions::{BAR, MAX_QUEUES, MULTIPLIER, Places, Region};
use super::Transport;
use crate::Device;
use crate::spec::pci::field;

pub use doorbells::Doorbells;

/// A device as a PCI function: one base address of 64 KiB, MSI-X with a vector for each queue and one
/// for the configuration, no interrupt pin.
///
/// While the driver has not made it a bus master (the command register, PCI 6.2.2), its queues rest
/// and no message is sent; both go on when it is one.
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_device_bus::{MessageVector, MmioBus};
/// use vmmkit_guest_memory::GuestRam;
/// use vmmkit_pci::{HostBridge, PciBus, PciLayout};
/// # use vmmkit_virtio::{Activation, ActivateError, Active, Device, DeviceKind};
/// use vmmkit_virtio::PciTransport;
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
/// let memory = Arc::new(MmioBus::new());
/// let bus = PciBus::new(&memory, PciLayout::default());
/// bus.plug(Arc::new(HostBridge::new()))?;
/// // A hypervisor has better vectors, and doorbells.
/// let mut vector = || Ok(Arc::new(MessageVector::new(|_| ())) as _);
/// let transport = PciTransport::new("rng0", Arc::new(MyDevice), &ram, &mut vector, None)?;
/// let device = bus.plug(Arc::new(transport))?;
/// let mut id = [0; 4];
/// bus.read_config(device, 0, &mut id);
/// assert_eq!(id, [0xf4, 0x1a, 0x44, 0x10]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PciTransport {
    // Fixed at creation
    places: Places,
    // Wiring
    transport: Transport,
    interrupts: Arc<PciInterrupts>,
    doorbells: Bells,
    // What the guest can see
    config: Mutex<ConfigSpace>,
    window_data: Mutex<[u8; 4]>,
    selectors: Mutex<Selectors>,
}

impl PciTransport {
    /// `device`, called `name` in the machine. `vector` makes a vector for each queue and one for the
    /// configuration. Where kicks shall need no exit, `doorbells` attaches them.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or vector left; and for a device of more than 1024
    /// queues.
    pub fn new(
        name: &str,
        device: Arc<dyn Device>,
        ram: &GuestRam,
        vector: &mut dyn FnMut() -> io::Result<Arc<dyn MsiVector>>,
        doorbells: Option<Arc<dyn Doorbells>>,
    ) -> io::Result<Self> {
        let queues = u16::try_from(device.queue_sizes().len()).unwrap_or(u16::MAX);
        if queues > MAX_QUEUES {
            let message = format!("{name}: {queues} queues, and PCI has room for {MAX_QUEUES}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let vectors = (0..=queues).map(|_| vector()).collect::<io::Result<_>>()?;
        let msix = Msix::new(vectors).map_err(io::Error::other)?;
        let (config, places) =
            regions::config_space(device.kind(), queues, &msix).map_err(io::Error::other)?;
        let interrupts = Arc::new(PciInterrupts::new(msix, queues));
        let transport = Transport::new(name, device, ram, interrupts.clone())?;
        transport.hold(!config.is_master());
        Ok(Self {
            places,
            transport,
            interrupts,
            doorbells: Bells::new(doorbells),
            config: Mutex::new(config),
            window_data: Mutex::default(),
            selectors: Mutex::default(),
        })
    }

    /// The common part of every transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Where the driver writes the kicks of queue `index` now; `None` while the base address is not
    /// decoded.
    pub fn notify_address(&self, index: u16) -> Option<u64> {
        let base = self.doorbells.base()?;
        let is_there = index < self.transport.queue_count();
        is_there.then(|| doorbells::address(base, index))
    }

    fn set_status(&self, value: u8) {
        self.transport.set_status(value);
        if value == 0 {
            self.forget();
        }
        self.doorbells.settle(&self.transport);
    }

    /// As after a reset by the driver.
    fn forget(&self) {
        *self.selectors() = Selectors::default();
        self.interrupts.forget();
    }

    /// The command register may have changed. The vectors come last: what is signalled meanwhile is
    /// pending.
    fn settle_master(&self, config: &ConfigSpace) {
        let is_master = config.is_master();
        self.transport.hold(!is_master);
        self.interrupts.msix.set_master(is_master);
    }

    fn selectors(&self) -> MutexGuard<'_, Selectors> {
        self.selectors.lock()
    }

    /// Message control, in the capability of MSI-X.
    fn message_control(&self) -> Range<usize> {
        let start = self.places.msix + 2;
        start..start + 2
    }

    /// The data of the capability that gives access to the base address.
    fn window_registers(&self) -> Range<usize> {
        let start = self.places.window + field::DATA;
        start..start + 4
    }
}

impl PciFunction for PciTransport {
    fn name(&self) -> Arc<str> {
        self.transport.name().clone()
    }

    fn config(&self) -> &Mutex<ConfigSpace> {
        &self.config
    }

    fn read_config(&self, register: usize, data: &mut [u8]) {
        let window = self.window_registers();
        if window.contains(&register) {
            self.read_window();
            let bytes = *self.window_data.lock();
            let from = bytes.iter().skip(register - window.start);
            for (byte, value) in data.iter_mut().zip(from) {
                *byte = *value;
            }
            return;
        }
        let is_raised = !self.interrupts.msix.is_enabled() && self.interrupts.isr() != 0;
        let mut config = self.config.lock();
        config.set_interrupt_status(is_raised);
        config.read(register, data);
    }

    fn write_config(&self, register: usize, data: &[u8]) {
        let window = self.window_registers();
        if window.contains(&register) {
            let places = register - window.start;
            for (byte, value) in self.window_data.lock().iter_mut().skip(places).zip(data) {
                *byte = *value;
            }
            return self.write_window();
        }
        let mut control = [0; 2];
        let mut config = self.config.lock();
        let was_master = config.is_master();
        config.write(register, data);
        // Under the lock, so that queues and vectors follow the registers.
        if config.is_master() != was_master {
            self.settle_master(&config);
        }
        config.read(self.message_control().start, &mut control);
        let written = register..register.saturating_add(data.len());
        if self.message_control().any(|place| written.contains(&place)) {
            self.interrupts
                .msix
                .set_control(u16::from_le_bytes(control));
        }
    }

    fn read_bar(&self, _bar: u8, offset: u64, data: &mut [u8]) {
        let (region, offset) = Region::at(offset);
        let msix = &self.interrupts.msix;
        match region {
            Region::Common => self.read_common(offset, data),
            Region::Device => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                self.transport.read_config(offset, data);
            }
            Region::Table => msix.read_table(offset, data),
            Region::Pending => msix.read_pending(offset, data),
            Region::Isr | Region::Notify => {
                data.fill(0);
                if let (Region::Isr, 0, [first, ..]) = (region, offset, data) {
                    *first = self.interrupts.take_isr();
                }
            }
        }
    }

    fn write_bar(&self, _bar: u8, offset: u64, data: &[u8]) {
        let (region, offset) = Region::at(offset);
        match region {
            Region::Common => self.write_common(offset, data),
            Region::Device => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                self.transport.write_config(offset, data);
            }
            // The address says which queue it is (4.1.4.4).
            Region::Notify => self.transport.notify((offset / MULTIPLIER) as u32),
            Region::Table => self.interrupts.msix.write_table(offset, data),
            Region::Isr | Region::Pending => {}
        }
    }

    fn moved(&self, bar: u8, base: Option<u64>) {
        if bar == BAR {
            self.doorbells.moved(base, &self.transport);
        }
    }
}

impl Inspect for PciTransport {
    fn inspect(&self) -> Tree {
        self.transport.inspect()
    }
}

impl Lifecycle for PciTransport {
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
        self.interrupts.msix.reset();
        let mut config = self.config.lock();
        config.reset();
        self.settle_master(&config);
        drop(config);
        *self.window_data.lock() = [0; 4];
        self.doorbells.settle(&self.transport);
    }

    fn stop(&self) {
        self.transport.stop();
    }
}

impl fmt::Debug for PciTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciTransport")
            .field("transport", &self.transport)
            .field("msix", &self.interrupts.msix)
            .finish_non_exhaustive()
    }
}
