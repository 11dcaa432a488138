//! Where the registers of paravirtual devices are, which interrupts they have, and how the guest is told.

use vmmkit_boot_loader::acpi::AcpiDevice;
use vmmkit_boot_loader::with_parameters;
use vmmkit_device_bus::Gsi;
use vmmkit_guest_memory::{GuestAddress, MMIO_HOLE_START};
use vmmkit_virtio::spec::mmio;

/// Where paravirtual devices are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VirtioTransport {
    /// Each at an address and an interrupt of its own, told by ACPI or the command line: the least to
    /// probe for. Kernels of distributions mostly lack the driver.
    #[default]
    Mmio,
    /// On a PCI bus, with MSI-X.
    Pci,
    /// Likewise, and the bus is that of a Q35, which UEFI firmware made for QEMU's machines looks for: its host
    /// bridge puts the configuration spaces where firmware wants them in memory, and its ISA bridge is device 31.
    Q35,
}

impl VirtioTransport {
    /// Where RAM below 4 GiB must end at the latest ([`RamConfig::hole_start`](vmmkit_guest_memory::RamConfig::hole_start)):
    /// at 2 GiB beside a Q35, whose firmware has the bus and its configuration spaces above that.
    pub const fn hole_start(self) -> GuestAddress {
        match self {
            Self::Mmio | Self::Pci => MMIO_HOLE_START,
            Self::Q35 => Q35_HOLE_START,
        }
    }

    /// How many devices there is room for.
    pub const fn max_devices(self) -> usize {
        match self {
            Self::Mmio => MAX_MMIO,
            Self::Pci => MAX_PCI,
            // And the ISA bridge.
            Self::Q35 => MAX_PCI - 1,
        }
    }

    /// The same beside `lines` interrupts of an embedder's devices.
    pub const fn max_devices_beside(self, lines: usize) -> usize {
        match self {
            Self::Mmio => self.max_devices().saturating_sub(lines),
            Self::Pci | Self::Q35 => self.max_devices(),
        }
    }
}

/// Where the registers of the first device are; the others follow. In the MMIO hole, far below the
/// interrupt controllers.
const FIRST: u64 = 0xd000_0000;

/// As QEMU has it.
pub(crate) const Q35_HOLE_START: GuestAddress = GuestAddress(0x8000_0000);

/// The interrupts that no other device of the platform has: ISA's first, which an MP table
/// describes too, then the I/O APIC's own.
pub(crate) const GSIS: [u32; 16] = [5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// The most devices that there can be.
pub(crate) const MAX_MMIO: usize = GSIS.len();

/// The most devices on the bus, which has 32 places, and the host bridge has one of them.
const MAX_PCI: usize = 31;

/// The last of the interrupts that no other device has, after so many that were given from the end.
pub(crate) fn last_gsi(given: usize) -> Option<Gsi> {
    GSIS.iter().rev().nth(given).copied().map(Gsi)
}

/// The address of device `index`.
pub(crate) fn base(index: usize) -> u64 {
    FIRST + index as u64 * mmio::LENGTH
}

/// The ACPI description of `count` devices.
pub(crate) fn describe(count: usize) -> impl Iterator<Item = AcpiDevice> {
    (0..count.min(MAX_MMIO)).map(acpi_device)
}

/// The ACPI description of device `index`.
pub(crate) fn acpi_device(index: usize) -> AcpiDevice {
    AcpiDevice::VirtioMmio {
        // There are at most 16.
        index: index as u32,
        base: base(index),
        size: mmio::LENGTH,
        gsi: GSIS.get(index).copied().unwrap_or_default(),
    }
}

/// The command line that tells a kernel without ACPI of `count` devices (Linux,
/// admin-guide/kernel-parameters: virtio_mmio.device), before what is left to init.
pub fn announce(cmdline: &str, count: usize) -> String {
    let words = GSIS.iter().enumerate().take(count);
    let words = words.map(|(index, gsi)| {
        let (size, base) = (mmio::LENGTH, base(index));
        format!("virtio_mmio.device={size}@{base:#x}:{gsi}")
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return cmdline.to_owned();
    }
    with_parameters(cmdline, &words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_tells_of_devices_before_what_is_inits() {
        let told = " virtio_mmio.device=4096@0xd0000000:5 virtio_mmio.device=4096@0xd0001000:6";
        assert_eq!(announce("quiet", 2), format!("quiet{told}"));
        assert_eq!(announce("a -- b", 2), format!("a{told} -- b"));
        assert_eq!(announce("quiet", 0), "quiet");
    }
}
