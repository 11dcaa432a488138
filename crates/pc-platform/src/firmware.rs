//! The machine as firmware is told of it: RAM, vCPUs, ACPI tables and the console, as files of fw_cfg.

use vmmkit_boot_loader::acpi::{AcpiDevice, AddressWindow, LinkedTables, MemoryRange, PciHost};
use vmmkit_boot_loader::memory_map::{E820Entry, E820Kind};
use vmmkit_boot_loader::smbios::SmbiosTables;
use vmmkit_device_bus::AddressRange;
use vmmkit_fw_cfg::{FwCfg, Items};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
use vmmkit_legacy_devices::{Ioapic, SerialPort};
use vmmkit_pci::PciLayout;

use crate::description::{Description, PlatformConfig};
use crate::virtio_places::Q35_HOLE_START;
use crate::{PlatformError, VirtioTransport};

/// Ranges of addresses: first, size, type, as in the e820 map.
const E820: &str = "etc/e820";
/// The port of a serial console, 64 bits, little-endian (SeaBIOS, docs/Runtime_config.md).
const SERIAL_CONSOLE: &str = "etc/sercon-port";

/// Its description in ACPI, by which Linux's qemu_fw_cfg finds it.
pub(crate) const ACPI: AcpiDevice = AcpiDevice::FwCfg {
    port: FwCfg::PORT,
    count: FwCfg::LENGTH as u8,
};

/// Where firmware puts what is on the PCI bus of a Q35 below 4 GiB: the builds of EDK II agree on neither the place of the
/// configuration spaces nor that of base addresses, but all keep to what is above RAM and below the I/O APIC.
pub(crate) const Q35_BUS: AddressRange =
    AddressRange::new(Q35_HOLE_START.0, Ioapic::ADDRESS - Q35_HOLE_START.0);

/// Where EDK II puts large base addresses: above RAM, aligned to this, or at the end of the processor's address space,
/// which a kernel knows itself.
const HIGH_ALIGNMENT: u64 = 32 << 30;
const HIGH_END: u64 = 1 << 47;

/// The host bridge of a Q35 with `ram`. Firmware says where the configuration spaces are in memory after these tables
/// are made: a kernel has them by ports.
pub(crate) fn q35_host(ram: &RamConfig) -> PciHost {
    let ranges = MemoryRange::of(ram).into_iter();
    let end = ranges
        .map(|range| range.base.saturating_add(range.size))
        .max();
    let base = end
        .unwrap_or_default()
        .checked_next_multiple_of(HIGH_ALIGNMENT);
    let high = base
        .filter(|base| *base < HIGH_END)
        .map(|base| AddressWindow {
            base,
            size: HIGH_END - base,
        });
    PciHost {
        ecam: None,
        window: AddressWindow {
            base: Q35_BUS.base,
            size: Q35_BUS.length,
        },
        high_window: high,
        ..PciHost::default()
    }
}

/// The host bridge of a machine with firmware: SeaBIOS moves base addresses to right below the I/O APIC.
pub(crate) fn pci_host() -> PciHost {
    let host = PciHost::default();
    let base = host.window.base;
    let size = Ioapic::ADDRESS.saturating_sub(base);
    PciHost {
        window: AddressWindow { base, size },
        ..host
    }
}

/// The device, with all that there is to say of `machine`, whose RAM is `ram` and whose tables are `tables`.
pub(crate) fn device(
    ram: &GuestRam,
    config: PlatformConfig,
    machine: &Description<'_>,
    tables: Option<LinkedTables>,
) -> Result<FwCfg, PlatformError> {
    Ok(FwCfg::new(items(ram, config, machine, tables)?, ram))
}

fn items(
    ram: &GuestRam,
    config: PlatformConfig,
    machine: &Description<'_>,
    tables: Option<LinkedTables>,
) -> Result<Items, PlatformError> {
    let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    let last = machine.apic_ids.iter().max().copied().unwrap_or_default();
    let max = number(last as usize).saturating_add(1);
    let mut items = Items::new().with_cpus(number(machine.apic_ids.len()), max);
    items.add_file(E820, e820(ram, config))?;
    items.add_file(SERIAL_CONSOLE, u64::from(SerialPort::PORT).to_le_bytes())?;
    if let Some(smbios) = &machine.smbios {
        // Firmware finds the structures in the file and writes their address itself.
        items.add_file(SmbiosTables::ANCHOR, smbios.entry_point(0))?;
        items.add_file(SmbiosTables::TABLES, smbios.structures())?;
    }
    if let Some(linked) = tables {
        items.add_file(LinkedTables::TABLES, linked.tables)?;
        items.add_file(LinkedTables::RSDP, linked.rsdp)?;
        items.add_file(LinkedTables::SCRIPT, linked.script)?;
    }
    Ok(items)
}

/// RAM; and the configuration spaces of PCI, which a kernel uses only where firmware reserves them.
fn e820(ram: &GuestRam, config: PlatformConfig) -> Vec<u8> {
    let ram = ram.regions().iter().map(|region| E820Entry {
        start: region.guest_address,
        size: region.size,
        kind: E820Kind::Ram,
    });
    let ecam = PciLayout::default().ecam;
    let ecam = (config.virtio == VirtioTransport::Pci).then_some(E820Entry {
        start: GuestAddress(ecam.base),
        size: ecam.length,
        kind: E820Kind::Reserved,
    });
    ram.chain(ecam).flat_map(entry).collect()
}

fn entry(entry: E820Entry) -> Vec<u8> {
    let mut bytes = entry.start.0.to_le_bytes().to_vec();
    bytes.extend(entry.size.to_le_bytes());
    bytes.extend((entry.kind as u32).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use vmmkit_boot_loader::Oem;
    use vmmkit_boot_loader::acpi::AcpiConfig;
    use vmmkit_boot_loader::smbios::{Processors, Smbios};
    use vmmkit_device_bus::{DevicePio, PioAddress};
    use vmmkit_fw_cfg::spec::{DATA, SELECTOR};
    use vmmkit_guest_memory::RamSize;
    use vmmkit_hypervisor::Irqchip;

    use super::*;
    use crate::DescribedDevices;

    fn machine(size: u32, acpi: bool) -> Items {
        let config = PlatformConfig {
            irqchip: Irqchip::InKernel { pit: true },
            virtio: VirtioTransport::Pci,
            has_firmware: true,
            acpi,
            oem: Oem::default(),
        };
        let ram_config = RamConfig {
            size: RamSize::mebibytes(size),
            ..RamConfig::default()
        };
        let ram = GuestRam::new(&ram_config).unwrap();
        let devices = DescribedDevices::default();
        let processors = Processors {
            sockets: 1,
            cores: 3,
            threads: 1,
        };
        let named = acpi.then(Smbios::default);
        let machine = Description::new(&devices, &ram_config, vec![0, 1, 4]);
        let machine = machine.named(named.as_ref(), processors, &ram).unwrap();
        let tables = acpi.then(|| LinkedTables::new(&AcpiConfig::default()).unwrap());
        items(&ram, config, &machine, tables).unwrap()
    }

    fn names(items: &Items) -> Vec<&str> {
        items.files().map(|(name, _)| name).collect()
    }

    #[test]
    fn firmware_finds_ram_console_and_tables() {
        let items = machine(64, true);
        let expected = [
            "etc/acpi/rsdp",
            "etc/acpi/tables",
            "etc/e820",
            "etc/sercon-port",
            "etc/smbios/smbios-anchor",
            "etc/smbios/smbios-tables",
            "etc/table-loader",
        ];
        assert_eq!(names(&items), expected);
        assert_eq!(names(&machine(64, false)), ["etc/e820", "etc/sercon-port"]);
    }

    #[test]
    fn the_apic_ids_bound_the_number_of_vcpus() {
        let ram = GuestRam::new(&RamConfig::default()).unwrap();
        let device = FwCfg::new(machine(64, true), &ram);
        let read = |item: u16| {
            let base = PioAddress(SELECTOR);
            device.pio_write(base, 0, &item.to_le_bytes());
            let mut bytes = [0; 2];
            device.pio_read(base, DATA - SELECTOR, &mut bytes);
            u16::from_le_bytes(bytes)
        };
        assert_eq!(read(vmmkit_fw_cfg::spec::CPUS_ITEM), 3);
        assert_eq!(read(vmmkit_fw_cfg::spec::MAX_CPUS_ITEM), 5);
    }

    #[test]
    fn ram_around_the_hole_is_two_ranges() {
        let size = |items: &Items| items.files().find(|file| file.0 == E820).unwrap().1;
        // Beside that of the configuration spaces.
        assert_eq!(size(&machine(64, true)), 20 + 20);
        assert_eq!(size(&machine(4096, true)), 40 + 20);
    }

    #[test]
    fn the_high_window_of_a_q35_is_above_ram() {
        let host = |gibibytes: u32| {
            q35_host(&RamConfig {
                size: RamSize::mebibytes(gibibytes << 10),
                ..RamConfig::default()
            })
        };
        for (gibibytes, base) in [(1, 32 << 30), (31, 32 << 30), (40, 64 << 30)] {
            let window = host(gibibytes).high_window.unwrap();
            assert_eq!((window.base, window.base + window.size), (base, 1 << 47));
        }
        assert_eq!(host(1).ecam, None);
        assert_eq!(Q35_BUS.base + Q35_BUS.length, Ioapic::ADDRESS);
    }

    #[test]
    fn the_window_ends_below_the_io_apic() {
        let window = pci_host().window;
        assert_eq!(window.base + window.size, Ioapic::ADDRESS);
    }
}
