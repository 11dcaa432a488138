//! A machine as its guest is told of it.

use vmmkit_boot_loader::Oem;
use vmmkit_boot_loader::acpi::{AcpiDevice, AcpiObject};
use vmmkit_boot_loader::smbios::{Processors, Smbios, SmbiosError, SmbiosTables};
use vmmkit_guest_memory::{GuestRam, RamConfig};
use vmmkit_hypervisor::Irqchip;

use crate::virtio_places::VirtioTransport;

/// Configuration of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformConfig {
    /// The interrupt controllers.
    pub irqchip: Irqchip,
    /// Where paravirtual devices are.
    pub virtio: VirtioTransport,
    /// Whether firmware lies at the end of the first 4 GiB.
    pub has_firmware: bool,
    /// Whether ACPI tables describe it.
    pub acpi: bool,
    /// The maker that the ACPI tables name.
    pub oem: Oem,
}

/// The devices that the guest is told of, beside those of every PC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedDevices {
    /// The number of paravirtual devices.
    pub virtio: usize,
    /// The devices of the embedder's own.
    pub own: Vec<AcpiDevice>,
    /// The embedder's own descriptions.
    pub objects: Vec<AcpiObject>,
}

/// All that a guest is told of its machine, beside the platform.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description<'a> {
    /// The devices.
    pub devices: &'a DescribedDevices,
    /// RAM, and where memory may be plugged.
    pub ram: &'a RamConfig,
    /// The APIC ID of each vCPU, that of the one that starts first.
    pub apic_ids: Vec<u32>,
    /// The SMBIOS tables; none without.
    pub smbios: Option<SmbiosTables>,
}

impl<'a> Description<'a> {
    /// That of `devices`, of RAM as `ram` says, and of the vCPUs with `apic_ids`.
    pub fn new(devices: &'a DescribedDevices, ram: &'a RamConfig, apic_ids: Vec<u32>) -> Self {
        Self {
            devices,
            ram,
            apic_ids,
            smbios: None,
        }
    }

    /// The same with SMBIOS tables, if `named` says how they name the machine, with `processors` and `ram`.
    ///
    /// # Errors
    /// [`SmbiosError`]: a text cannot be written, or there are too many.
    pub fn named(
        mut self,
        named: Option<&Smbios>,
        processors: Processors,
        ram: &GuestRam,
    ) -> Result<Self, SmbiosError> {
        let tables = |named| SmbiosTables::new(named, processors, ram);
        self.smbios = named.map(tables).transpose()?;
        Ok(self)
    }
}
