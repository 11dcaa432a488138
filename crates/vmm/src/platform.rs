//! The platform: which devices there are, where, on which line; and their description to the guest.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vmmkit_boot_loader::acpi::{AcpiConfig, AcpiDevice};
use vmmkit_device_bus::{
    AddressRange, Bus, DevicePio, Gsi, MmioBus, PlugError, PortBus, RequestSink,
};
use vmmkit_hypervisor::Interrupts;
use vmmkit_legacy_devices::{AcpiPm, Cmos, DebugExit, I8042, ResetControl, SerialPort};

use crate::console::Transmitter;

/// COM1's line (PC/AT).
const SERIAL_GSI: Gsi = Gsi(4);
/// The keyboard's line (PC/AT).
const KEYBOARD_GSI: Gsi = Gsi(1);
/// The ACPI system control interrupt, as in the FADT.
const SCI_GSI: Gsi = Gsi(9);

/// The devices of one machine and the buses they are plugged into.
pub(crate) struct Platform {
    pub(crate) ports: Arc<PortBus>,
    pub(crate) mmio: Arc<MmioBus>,
    pub(crate) serial: Arc<SerialPort>,
    pub(crate) keyboard: Arc<I8042>,
    pub(crate) power: Arc<AcpiPm>,
}
