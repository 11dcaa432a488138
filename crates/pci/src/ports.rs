//! Configuration spaces by ports 0xCF8 and 0xCFC: mechanism 1 (PCI 3.2.2.3.2).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmmkit_device_bus::{AddressRange, DevicePio, Lifecycle, PioAddress, PioAddressOffset};

use crate::PciBus;
use crate::spec::mechanism_1 as spec;

/// CONFIG_ADDRESS and CONFIG_DATA: plug it at [`RANGE`](Self::RANGE).
///
/// CONFIG_ADDRESS is reached by accesses of 4 bytes alone. Others at its ports go to another device,
/// if there is one: PCs have their reset register at port 0xCF9.
pub struct ConfigPorts {
    bus: Arc<PciBus>,
    beside: Option<Arc<dyn DevicePio + Send + Sync>>,
    // Ordering: one register; a guest that races for it gets what a chipset gives it.
    address: AtomicU32,
}

impl ConfigPorts {
    /// Its name on a bus.
    pub const NAME: &'static str = "pci configuration";
    /// Its ports.
    pub const RANGE: AddressRange = AddressRange::new(spec::ADDRESS as u64, 8);

    /// The ports of `bus`. `beside` gets what is not an access of CONFIG_ADDRESS at its 4 ports, as if
    /// it were plugged there.
    pub fn new(bus: Arc<PciBus>, beside: Option<Arc<dyn DevicePio + Send + Sync>>) -> Self {
        Self {
            bus,
            beside,
            address: AtomicU32::new(0),
        }
    }

    /// CONFIG_ADDRESS: all that the guest can see of the ports themselves.
    pub fn state(&self) -> u32 {
        self.address.load(Ordering::Relaxed)
    }

    /// Puts CONFIG_ADDRESS back.
    pub fn restore(&self, address: u32) {
        self.address.store(address & spec::USED, Ordering::Relaxed);
    }

    /// The device and the register that CONFIG_DATA leads to, if to any function that may be there.
    fn target(&self, port: u16) -> Option<(u8, usize)> {
        let address = self.state();
        let [low, device_and_function, bus, _] = address.to_le_bytes();
        let is_ours = address & spec::ENABLE != 0 && bus == 0 && device_and_function & 7 == 0;
        let register = usize::from(low) + usize::from(port & 3);
        is_ours.then_some((device_and_function >> 3, register))
    }
}

impl DevicePio for ConfigPorts {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let port = base.0.wrapping_add(offset);
        if port >= spec::DATA {
            match self.target(port) {
                Some((device, register)) => self.bus.read_config(device, register, data),
                None => data.fill(0xff),
            }
            return;
        }
        data.fill(0xff);
        if let (spec::ADDRESS, 4) = (port, data.len()) {
            data.copy_from_slice(&self.state().to_le_bytes());
        } else if let Some(beside) = &self.beside {
            beside.pio_read(base, offset, data);
        }
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let port = base.0.wrapping_add(offset);
        if port >= spec::DATA {
            if let Some((device, register)) = self.target(port) {
                self.bus.write_config(device, register, data);
            }
            return;
        }
        match (port, <[u8; 4]>::try_from(data), &self.beside) {
            (spec::ADDRESS, Ok(bytes), _) => self.restore(u32::from_le_bytes(bytes)),
            (_, _, Some(beside)) => beside.pio_write(base, offset, data),
            _ => {}
        }
    }
}

impl Lifecycle for ConfigPorts {
    fn reset(&self) {
        self.restore(0);
    }
}

impl fmt::Debug for ConfigPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigPorts")
            .field("bus", &self.bus)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
