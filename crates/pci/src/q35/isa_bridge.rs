//! The ISA bridge: what is behind it is on the buses as it is; its registers say where.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::Lifecycle;

use crate::spec::{class, command, header, q35};
use crate::{ConfigSpace, Identity, PciFunction};

const IDENTITY: Identity = Identity {
    vendor: q35::VENDOR,
    device: q35::ISA_BRIDGE,
    revision: 2,
    class: class::ISA_BRIDGE,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};

/// The ISA bridge: plug it in as [`DEVICE`](Self::DEVICE).
pub struct IsaBridge(Mutex<ConfigSpace>);

impl IsaBridge {
    /// Its name on the bus.
    pub const NAME: &'static str = "pci isa bridge";
    /// The number of its device.
    pub const DEVICE: u8 = q35::ISA_DEVICE;

    /// A bridge that says that the ports of power management are from `power` on, a multiple of 128.
    pub fn new(power: u16) -> Self {
        let mut config = ConfigSpace::new(&IDENTITY);
        // Ports and memory behind it are always decoded (ICH9 13.1.3).
        let on = command::IO | command::MEMORY | command::MASTER;
        config.set_register(header::COMMAND, &on.to_le_bytes(), &[0; 2]);
        // Bit 0 says that they are ports (ICH9 13.1.9).
        let base = u32::from(power & 0xff80) | 1;
        config.set_register(q35::PM_BASE, &base.to_le_bytes(), &[0; 4]);
        config.set_register(q35::ACPI_CONTROL, &[q35::ACPI_ENABLE], &[0]);
        for routes in q35::INTERRUPT_ROUTES {
            config.set_register(routes, &[q35::NOT_ROUTED; 4], &[0x8f; 4]);
        }
        let writable = 0xffff_c001_u32.to_le_bytes();
        config.set_register(q35::ROOT_COMPLEX, &[0; 4], &writable);
        Self(Mutex::new(config))
    }
}

impl PciFunction for IsaBridge {
    fn name(&self) -> Arc<str> {
        Self::NAME.into()
    }

    fn config(&self) -> &Mutex<ConfigSpace> {
        &self.0
    }
}

impl Lifecycle for IsaBridge {
    fn reset(&self) {
        self.0.lock().reset();
    }
}

impl fmt::Debug for IsaBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsaBridge").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bridge: &IsaBridge, register: usize) -> u32 {
        let mut bytes = [0; 4];
        bridge.read_config(register, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn power_management_is_on_and_does_not_move() {
        let bridge = IsaBridge::new(0x600);
        assert_eq!(read(&bridge, 0), 0x2918_8086);
        assert_eq!(read(&bridge, 8), 0x0601_0002);
        for _ in 0..2 {
            assert_eq!(read(&bridge, q35::PM_BASE), 0x601);
            assert_eq!(read(&bridge, q35::ACPI_CONTROL), 0x80);
            assert_eq!(read(&bridge, header::COMMAND), 7);
            for register in (0..256).step_by(4) {
                bridge.write_config(register, &[0; 4]);
            }
        }
    }

    #[test]
    fn routes_and_the_root_complex_are_kept_until_a_reset() {
        let bridge = IsaBridge::new(0x600);
        bridge.write_config(0x60, &[0x0a, 0x8b, 0xff, 0x70]);
        assert_eq!(read(&bridge, 0x60), 0x008f_8b0a);
        bridge.write_config(0xf0, &0xfed1_c001_u32.to_le_bytes());
        assert_eq!(read(&bridge, 0xf0), 0xfed1_c001);
        bridge.reset();
        assert_eq!((read(&bridge, 0x60), read(&bridge, 0xf0)), (0x8080_8080, 0));
    }
}
