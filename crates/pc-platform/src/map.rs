//! The guest's addresses and ports that are taken, and those free for an embedder's own devices.

use std::sync::Arc;

use vmmkit_device_bus::{AddressRange, Mmio, Plug, PlugError, Ports, Space};
use vmmkit_guest_memory::{GuestRam, MMIO_HOLE_END};
use vmmkit_hypervisor::Irqchip;
use vmmkit_pci::PciLayout;

use crate::description::PlatformConfig;
use crate::firmware;
use crate::virtio_places::VirtioTransport;

/// Guest-physical addresses that no machine has a use for, but one with UEFI firmware, which puts the PCI bus there:
/// 256 MiB from 3 GiB on. The map of a machine:
///
/// | addresses | what is there |
/// | --- | --- |
/// | 0 to the size of RAM, up to 3 GiB | RAM; its rest is from 4 GiB on |
/// | `0xc000_0000..0xd000_0000` | nothing: this range |
/// | `0xd000_0000..0xd001_0000` | registers of virtio devices, 4 KiB each (virtio-mmio) |
/// | `0xe000_0000..0xe010_0000` | PCI configuration (ECAM), where there is a bus |
/// | `0xe800_0000..0xf000_0000` | PCI base addresses, where there is a bus |
/// | `0xfec0_0000`, `0xfee0_0000`, 4 KiB each | the I/O APIC and the local APICs |
/// | `0xfeff_c000..0xff00_0000` | pages that the hypervisor needs on Intel's processors |
/// | `0xff00_0000..0x1_0000_0000` | firmware, which ends at 4 GiB, and flash right below it |
/// | after RAM, or where the device says | memory to be plugged, persistent memory |
pub const FREE_MMIO: AddressRange = AddressRange::new(0xc000_0000, 256 << 20);

/// I/O ports that no machine has a use for: 256 from 0x700 on.
pub const FREE_PORTS: AddressRange = AddressRange::new(0x700, 0x100);

/// An owner of addresses that are on no bus.
type Owned = (&'static str, AddressRange);

/// The pages that interrupt controllers answer (Intel SDM volume 3, 12.4.1; 82093AA data sheet, 3.0),
/// and those of KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR.
const HYPERVISOR: [Owned; 3] = [
    ("the I/O APIC", AddressRange::new(0xfec0_0000, 0x1000)),
    ("the local APIC", AddressRange::new(0xfee0_0000, 0x1000)),
    ("the hypervisor", AddressRange::new(0xfeff_c000, 0x4000)),
];

/// Where the largest firmware begins.
const FIRMWARE: u64 = 0xff00_0000;
/// Where a small one does: it is below 1 MiB too.
const LEAST_FIRMWARE: u64 = 0xfffe_0000;

/// Ports that the hypervisor answers where it has the interrupt controllers: both PICs and their
/// trigger registers.
const PICS: [Owned; 3] = [
    ("the PIC", AddressRange::new(0x20, 2)),
    ("the PIC", AddressRange::new(0xa0, 2)),
    ("the PIC", AddressRange::new(0x4d0, 2)),
];

/// Likewise for the timer.
const PIT: [Owned; 2] = [
    ("the PIT", AddressRange::new(0x40, 4)),
    ("the PIT", AddressRange::new(0x61, 1)),
];

/// The guest-physical addresses that a machine of `config`, with `ram` and `more` memory, has beside the
/// devices on the bus, which would never be asked there.
fn taken_mmio(config: PlatformConfig, ram: &GuestRam, more: &[GuestRam]) -> Vec<Owned> {
    let named = |name: &'static str| {
        move |ram: &GuestRam| {
            let regions = ram.regions().iter();
            let range = |r: &vmmkit_guest_memory::RamRegion| {
                (name, AddressRange::new(r.guest_address.0, r.size))
            };
            regions.map(range).collect::<Vec<_>>()
        }
    };
    let mut taken = named("RAM")(ram);
    taken.extend(more.iter().flat_map(named("memory beside RAM")));
    taken.extend(HYPERVISOR);
    if config.has_firmware {
        let first = match config.virtio {
            // Flash lies right below the firmware, whose size is not known here.
            VirtioTransport::Q35 => LEAST_FIRMWARE,
            _ => FIRMWARE,
        };
        let range = AddressRange::new(first, MMIO_HOLE_END.0 - first);
        taken.push(("firmware", range));
    }
    match config.virtio {
        VirtioTransport::Mmio => {}
        VirtioTransport::Pci => taken.push(("the PCI bus", PciLayout::default().window)),
        VirtioTransport::Q35 => taken.push(("the PCI bus", firmware::Q35_BUS)),
    }
    taken
}

/// The same of ports.
fn taken_ports(irqchip: Irqchip) -> Vec<Owned> {
    match irqchip {
        Irqchip::InKernel { pit: true } => [&PICS[..], &PIT].concat(),
        Irqchip::InKernel { pit: false } => PICS.to_vec(),
        _ => Vec::new(),
    }
}

/// Whether devices of the embedder's own miss all that the machine has beside its buses.
///
/// # Errors
/// [`PlugError::Conflict`] for the first one that does not.
pub(crate) fn check(
    (ports, mmio): (&[Plug<Ports>], &[Plug<Mmio>]),
    config: PlatformConfig,
    ram: &GuestRam,
    more: &[GuestRam],
) -> Result<(), PlugError> {
    misses(ports, &taken_ports(config.irqchip))?;
    misses(mmio, &taken_mmio(config, ram, more))
}

fn misses<S: Space>(plugs: &[Plug<S>], taken: &[Owned]) -> Result<(), PlugError> {
    for plug in plugs {
        let owner = taken.iter().find(|(_, range)| range.overlaps(&plug.range));
        if let Some(&(owner, owner_range)) = owner {
            return Err(PlugError::Conflict {
                name: plug.name.clone(),
                range: plug.range,
                owner: Arc::from(owner),
                owner_range,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmmkit_guest_memory::{RamConfig, RamSize};

    #[test]
    fn the_free_ranges_are_free_in_every_machine() {
        let ram = GuestRam::new(&RamConfig {
            size: "5G".parse().unwrap(),
            ..RamConfig::default()
        })
        .unwrap();
        assert!(ram.size() > RamSize::mebibytes(4096).bytes());
        for virtio in [VirtioTransport::Mmio, VirtioTransport::Pci] {
            let config = PlatformConfig {
                irqchip: Irqchip::InKernel { pit: true },
                has_firmware: true,
                acpi: true,
                virtio,
                oem: vmmkit_boot_loader::Oem::default(),
            };
            let mut taken = taken_mmio(config, &ram, &[]);
            taken.push(("ECAM", PciLayout::default().ecam));
            taken.push(("virtio-mmio", AddressRange::new(0xd000_0000, 0x1_0000)));
            for (owner, range) in taken {
                assert!(!range.overlaps(&FREE_MMIO), "{owner}");
            }
        }
        for (owner, range) in taken_ports(Irqchip::InKernel { pit: true }) {
            assert!(!range.overlaps(&FREE_PORTS), "{owner}");
        }
    }
}
