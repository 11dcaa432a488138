//! The devices of every PC, a row each: name, ports, line and ACPI description in one place.

use std::sync::Arc;

use vmmkit_boot_loader::acpi::AcpiDevice;
use vmmkit_device_bus::{AddressRange, DevicePio, Gsi, Plug, PlugError, PortBus, Ports};
use vmmkit_fw_cfg::FwCfg;
use vmmkit_legacy_devices::acpi_pm::spec as pm;
use vmmkit_legacy_devices::{
    AcpiPm, Cmos, DebugExit, I8042, PostCode, Pvpanic, ResetControl, SerialPort, SystemControlB,
};

use crate::{Part, PartDevice, Place};

/// A device at I/O ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// First port and number of ports.
    ports: &'static [(u16, u16)],
    /// The pin of the interrupt controllers.
    pub(crate) line: Option<Gsi>,
    pub(crate) acpi: Option<AcpiDevice>,
}

const NONE: Row = Row {
    name: "",
    ports: &[],
    line: None,
    acpi: None,
};

/// COM1's line on a PC.
const SERIAL_GSI: Gsi = Gsi(4);

pub(crate) const SERIAL: Row = Row {
    name: SerialPort::NAME,
    ports: &[(SerialPort::PORT, SerialPort::LENGTH)],
    line: Some(SERIAL_GSI),
    acpi: Some(AcpiDevice::Serial {
        index: 0,
        port: SerialPort::PORT,
        gsi: SERIAL_GSI.0,
    }),
};
pub(crate) const KEYBOARD: Row = Row {
    name: I8042::NAME,
    ports: &[(I8042::PORT, 1), (I8042::COMMAND_PORT, 1)],
    line: Some(Gsi(1)),
    acpi: Some(AcpiDevice::Keyboard),
};
pub(crate) const CMOS: Row = Row {
    name: Cmos::NAME,
    ports: &[(Cmos::PORT, Cmos::LENGTH)],
    acpi: Some(AcpiDevice::Rtc),
    ..NONE
};
/// The FADT describes it, with its system control interrupt.
pub(crate) const POWER: Row = Row {
    name: AcpiPm::NAME,
    ports: &[(AcpiPm::PORT, AcpiPm::LENGTH)],
    line: Some(Gsi(pm::SCI)),
    ..NONE
};
pub(crate) const POST: Row = Row {
    name: PostCode::NAME,
    ports: &[(PostCode::PORT, PostCode::LENGTH)],
    ..NONE
};
/// The FADT describes it.
pub(crate) const RESET: Row = Row {
    name: ResetControl::NAME,
    ports: &[
        (ResetControl::PORT, ResetControl::LENGTH),
        (ResetControl::FAST_PORT, ResetControl::FAST_LENGTH),
    ],
    ..NONE
};
pub(crate) const DEBUG_EXIT: Row = Row {
    name: DebugExit::NAME,
    ports: &[(DebugExit::PORT, DebugExit::LENGTH)],
    ..NONE
};
pub(crate) const PVPANIC: Row = Row {
    name: Pvpanic::NAME,
    ports: &[(Pvpanic::PORT, Pvpanic::LENGTH)],
    acpi: Some(AcpiDevice::Pvpanic {
        port: Pvpanic::PORT,
    }),
    ..NONE
};
/// Only beside firmware, which ACPI describes it with.
pub(crate) const FW_CFG: Row = Row {
    name: FwCfg::NAME,
    ports: &[(FwCfg::PORT, FwCfg::LENGTH)],
    ..NONE
};
/// Only where the hypervisor has no PIT, which answers the port.
pub(crate) const SYSTEM_CONTROL: Row = Row {
    name: SystemControlB::NAME,
    ports: &[(SystemControlB::PORT, SystemControlB::LENGTH)],
    ..NONE
};

/// All of them, in the order of their descriptions in ACPI.
pub(crate) const TABLE: [Row; 10] = [
    SERIAL,
    KEYBOARD,
    CMOS,
    POWER,
    POST,
    RESET,
    DEBUG_EXIT,
    PVPANIC,
    FW_CFG,
    SYSTEM_CONTROL,
];

impl Row {
    /// Plugs `device` in, and makes it a part.
    ///
    /// # Errors
    /// [`PlugError`] where another device has one of the ports.
    pub(crate) fn plug<D>(&self, ports: &PortBus, device: &Arc<D>) -> Result<Part, PlugError>
    where
        D: DevicePio + PartDevice + 'static,
    {
        let ranges = self
            .ports
            .iter()
            .map(|&(port, length)| AddressRange::new(port.into(), length.into()));
        let plugs = ranges
            .clone()
            .map(|range| Plug::<Ports>::new(self.name, range, device.clone()));
        ports.plug_all(plugs.collect::<Vec<_>>())?;
        let part = Part::new(self.name, device.clone())
            .on_line(self.line)
            .described_as(self.acpi);
        Ok(ranges.fold(part, |part, range| part.at(Place::Ports(range))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_name_and_ports_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for row in TABLE {
            assert!(names.insert(row.name), "{row:?}");
            assert!(!row.ports.is_empty(), "{row:?}");
        }
    }
}
