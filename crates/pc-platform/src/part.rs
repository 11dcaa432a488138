//! The parts of a machine: one table, which whatever happens to the whole machine walks.

use std::fmt;
use std::sync::Arc;

use vmmkit_boot_loader::acpi::AcpiDevice;
use vmmkit_device_bus::{AddressRange, DeviceId, Gsi, Lifecycle, SaveState};
use vmmkit_telemetry::Inspect;

/// A device as a part of a machine: it is started, paused, resumed, reset and stopped, shown to people, saved and
/// restored.
pub trait PartDevice: Lifecycle + Inspect + SaveState {}

impl<D: Lifecycle + Inspect + SaveState + ?Sized> PartDevice for D {}

/// Where the guest reaches a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// I/O ports.
    Ports(AddressRange),
    /// Guest-physical addresses.
    Mmio(AddressRange),
}

impl Place {
    /// The ports or addresses.
    pub fn range(self) -> AddressRange {
        match self {
            Self::Ports(range) | Self::Mmio(range) => range,
        }
    }
}

/// A part of a machine: its name, where it is, how the guest learns of it, and the device.
#[derive(Clone)]
pub struct Part {
    id: DeviceId,
    places: Vec<Place>,
    line: Option<Gsi>,
    acpi: Option<AcpiDevice>,
    device: Arc<dyn PartDevice>,
    is_restored_last: bool,
}

impl Part {
    /// `device`, which is called `name`.
    pub fn new<D: PartDevice + 'static>(name: &str, device: Arc<D>) -> Self {
        Self::of(name, device)
    }

    pub(crate) fn of(name: &str, device: Arc<dyn PartDevice>) -> Self {
        Self {
            id: DeviceId::new(name),
            places: Vec::new(),
            line: None,
            acpi: None,
            device,
            is_restored_last: false,
        }
    }

    /// The same, which the guest reaches at `place` too.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.places.push(place);
        self
    }

    /// The same, which raises `line`, if any.
    #[must_use]
    pub fn on_line(mut self, line: Option<Gsi>) -> Self {
        self.line = line;
        self
    }

    /// The same, which ACPI describes as `device`, if at all.
    #[must_use]
    pub fn described_as(mut self, device: Option<AcpiDevice>) -> Self {
        self.acpi = device;
        self
    }

    /// The same, which is restored after all others: it holds what they are connected to.
    #[must_use]
    pub fn restored_last(mut self) -> Self {
        self.is_restored_last = true;
        self
    }

    /// Its name.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Where the guest reaches it.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The pin of the interrupt controllers that it raises; `None` without one, and for message-signalled
    /// interrupts.
    pub fn line(&self) -> Option<Gsi> {
        self.line
    }

    /// Its description in ACPI; `None` where the guest finds it by other means.
    pub fn acpi(&self) -> Option<AcpiDevice> {
        self.acpi
    }

    /// The device.
    pub fn device(&self) -> &dyn PartDevice {
        &*self.device
    }

    /// Its life cycle.
    pub fn life(&self) -> &dyn Lifecycle {
        &*self.device
    }

    /// True if it is restored after all others.
    pub fn is_restored_last(&self) -> bool {
        self.is_restored_last
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("id", &self.id)
            .field("places", &self.places)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
