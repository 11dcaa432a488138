//! Why a platform could not be made.

use std::io;

use thiserror::Error;
use vmmkit_boot_loader::acpi::AcpiError;
use vmmkit_boot_loader::smbios::SmbiosError;
use vmmkit_device_bus::{PlugError, StateError};
use vmmkit_fw_cfg::FileError;

/// Why a device of the platform cannot be part of a machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The hypervisor refused an interrupt or a kick.
    #[error("the hypervisor cannot serve a device")]
    Vm(#[from] vmmkit_hypervisor::Error),
    /// Two devices want the same place.
    #[error("a device cannot be plugged in")]
    Plug(#[from] PlugError),
    /// The host has nothing left for a device.
    #[error("{name}")]
    Device {
        /// The device's name in the machine.
        name: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// Firmware cannot be told of the machine by ACPI tables.
    #[error("the machine cannot be described to firmware")]
    Acpi(#[from] AcpiError),
    /// The SMBIOS tables cannot be as they are asked for.
    #[error("SMBIOS")]
    Smbios(#[from] SmbiosError),
    /// Firmware cannot be given a file.
    #[error("firmware cannot be configured")]
    Firmware(#[from] FileError),
    /// A device has no place on the PCI bus.
    #[error("a device cannot be put on the PCI bus")]
    Pci(#[from] vmmkit_pci::PciError),
}

/// Why a part cannot be saved as a section.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SectionError {
    /// It has what its saved form has no place for.
    #[error(transparent)]
    State(#[from] StateError),
    /// The section cannot be written.
    #[error(transparent)]
    Write(#[from] vmmkit_snapshot::WriteError),
}
