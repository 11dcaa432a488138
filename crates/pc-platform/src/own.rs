//! The devices of an embedder's own in one machine: what they ask for, the place that each is given, and how they
//! become parts.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use vmmkit_boot_loader::acpi::{AcpiDevice, AcpiObject};
use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, Gsi, IrqLine, Mmio, Plug, PlugError, Ports, RequestSink,
};
use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::Interrupts;
use vmmkit_pci::{PciError, PciFunction};
use vmmkit_telemetry::Inspect;

use crate::map::{self, FREE_MMIO, FREE_PORTS};
use crate::needs::Needs;
use crate::own_pci::PendingFunction;
use crate::{
    DescribedDevices, Part, PartDevice, PciSlot, Place, Platform, PlatformConfig, PlatformError,
    virtio_places,
};

/// Registers in memory begin and end at a page of the guest's, so that a driver may map them alone.
const PAGE: u64 = 4096;

/// The place of a device of the embedder's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnPlace {
    /// Its I/O ports.
    pub ports: Option<AddressRange>,
    /// Its guest-physical addresses.
    pub mmio: Option<AddressRange>,
    /// The pin of the interrupt controllers.
    pub gsi: Option<Gsi>,
}

/// The machine's side of a device of the embedder's own, at the moment it is plugged in.
#[derive(Clone)]
#[non_exhaustive]
pub struct Slot {
    /// Its place.
    pub place: OwnPlace,
    /// Its interrupt; unconnected where it asked for none.
    pub line: IrqLine,
    /// The guest's RAM, and the memory beside it.
    pub ram: GuestRam,
    /// Takes its requests: the end of the run, or a reset.
    pub requests: RequestSink,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A device of the embedder's own: a part, and what answers at its place.
pub struct OwnDevice {
    part: Arc<dyn PartDevice>,
    ports: Option<Arc<dyn DevicePio + Send + Sync>>,
    mmio: Option<Arc<dyn DeviceMmio + Send + Sync>>,
}

impl OwnDevice {
    /// A device that answers nowhere.
    pub fn new<D: PartDevice + 'static>(part: Arc<D>) -> Self {
        Self {
            part,
            ports: None,
            mmio: None,
        }
    }

    /// `device` answers at its ports.
    #[must_use]
    pub fn at_ports(mut self, device: Arc<dyn DevicePio + Send + Sync>) -> Self {
        self.ports = Some(device);
        self
    }

    /// `device` answers at its addresses.
    #[must_use]
    pub fn at_mmio(mut self, device: Arc<dyn DeviceMmio + Send + Sync>) -> Self {
        self.mmio = Some(device);
        self
    }
}

impl fmt::Debug for OwnDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnDevice")
            .field("ports", &self.ports.is_some())
            .field("mmio", &self.mmio.is_some())
            .finish_non_exhaustive()
    }
}

/// A machine has no room for a device of the embedder's own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// There are not so many free ports in a row.
    #[error("device {name}: {count} ports are not free")]
    Ports {
        /// The device.
        name: String,
        /// The number of ports.
        count: u8,
    },
    /// There are not so many free addresses in a row.
    #[error("device {name}: {bytes:#x} bytes of addresses are not free")]
    Mmio {
        /// The device.
        name: String,
        /// The number of bytes.
        bytes: u64,
    },
    /// Every interrupt has a device.
    #[error("device {name}: no interrupt is free")]
    Line {
        /// The device.
        name: String,
    },
}

type Make = Box<dyn FnOnce(Slot) -> OwnDevice + Send>;

/// A device that is made once there is a VM.
struct Pending {
    name: Arc<str>,
    place: OwnPlace,
    acpi: Option<AcpiDevice>,
    make: Make,
}

enum Own {
    Part(Part),
    Pending(Pending),
    Function(PendingFunction),
}

/// The devices of an embedder's own, in the order in which the machine starts them.
#[derive(Default)]
pub struct OwnDevices {
    ports: Vec<Plug<Ports>>,
    mmio: Vec<Plug<Mmio>>,
    devices: Vec<Own>,
    objects: Vec<AcpiObject>,
}

impl OwnDevices {
    /// Plugs a device in at ports.
    pub fn plug_ports(&mut self, plug: Plug<Ports>) {
        self.ports.push(plug);
    }

    /// Plugs a device in at guest-physical addresses.
    pub fn plug_mmio(&mut self, plug: Plug<Mmio>) {
        self.mmio.push(plug);
    }

    /// Has the machine lead `part`.
    pub fn lead(&mut self, part: Part) {
        self.devices.push(Own::Part(part));
    }

    /// Gives the device `name` a place for its `needs`; `make` makes it when the machine is built.
    ///
    /// # Errors
    /// [`NoRoom`]: what there is not enough of.
    pub fn add(&mut self, name: &str, needs: &Needs, make: Make) -> Result<OwnPlace, NoRoom> {
        let place = self.place(name, needs)?;
        let described = self.pending().filter(|it| it.acpi.is_some()).count();
        let range = |range: Option<AddressRange>| range.map(|range| (range.base, range.length));
        let acpi = needs.acpi.map(|id| AcpiDevice::Own {
            // There are at most as many as ports, addresses and interrupts allow; more are refused when described.
            index: u32::try_from(described).unwrap_or(u32::MAX),
            id,
            // Ports of 16 bits, of which a device has at most 255.
            ports: range(place.ports).map(|(base, _)| (base as u16, needs.ports)),
            memory: range(place.mmio),
            gsi: place.gsi.map(|gsi| gsi.0),
        });
        self.devices.push(Own::Pending(Pending {
            name: name.into(),
            place,
            acpi,
            make,
        }));
        Ok(place)
    }

    /// Adds a PCI function; `make` makes it when the machine is built, with `vectors` interrupts.
    pub fn add_function<F, M>(&mut self, vectors: u16, make: M)
    where
        F: PciFunction + Inspect + 'static,
        M: FnOnce(PciSlot) -> Result<Arc<F>, PciError> + Send + 'static,
    {
        let function = PendingFunction::new(vectors, make);
        self.devices.push(Own::Function(function));
    }

    /// Tells the guest of `object` by ACPI.
    pub fn describe(&mut self, object: AcpiObject) {
        self.objects.push(object);
    }

    /// The last free places: a device that chooses its own begins at the first.
    fn place(&self, name: &str, needs: &Needs) -> Result<OwnPlace, NoRoom> {
        let name = || name.to_owned();
        let (count, bytes) = (needs.ports, needs.mmio);
        let ports = || {
            let chosen = self.ports.iter().map(|plug| plug.range);
            let given = self.pending().filter_map(|it| it.place.ports);
            let taken: Vec<_> = chosen.chain(given).collect();
            let found = last_free(FREE_PORTS, count.into(), &taken);
            found.ok_or_else(|| NoRoom::Ports {
                name: name(),
                count,
            })
        };
        let mmio = || {
            let chosen = self.mmio.iter().map(|plug| plug.range);
            let given = self.pending().filter_map(|it| it.place.mmio);
            let taken: Vec<_> = chosen.chain(given).collect();
            let size = bytes.checked_next_multiple_of(PAGE);
            let found = size.and_then(|size| last_free(FREE_MMIO, size, &taken));
            found.ok_or_else(|| NoRoom::Mmio {
                name: name(),
                bytes,
            })
        };
        let gsi =
            || virtio_places::last_gsi(self.lines()).ok_or_else(|| NoRoom::Line { name: name() });
        Ok(OwnPlace {
            ports: (count > 0).then(ports).transpose()?,
            mmio: (bytes > 0).then(mmio).transpose()?,
            gsi: needs.line.then(gsi).transpose()?,
        })
    }

    fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.devices.iter().filter_map(|device| match device {
            Own::Pending(pending) => Some(pending),
            Own::Part(_) | Own::Function(_) => None,
        })
    }

    /// The interrupts that they have.
    pub fn lines(&self) -> usize {
        let lines = self.pending().filter(|it| it.place.gsi.is_some());
        lines.count()
    }

    /// The devices that the guest is told of: they, and so many paravirtual ones.
    pub fn described(&self, virtio: usize) -> DescribedDevices {
        DescribedDevices {
            virtio,
            own: self.pending().filter_map(|it| it.acpi).collect(),
            objects: self.objects.clone(),
        }
    }

    /// Checks that they miss all that a machine of `config`, with `ram` and `more` memory, has beside its buses.
    ///
    /// # Errors
    /// [`PlugError::Conflict`] for the first one that does not.
    pub fn check(
        &self,
        config: PlatformConfig,
        ram: &GuestRam,
        more: &[GuestRam],
    ) -> Result<(), PlugError> {
        map::check((&self.ports, &self.mmio), config, ram, more)
    }

    /// Makes those that are not there yet, and plugs all into `platform`. Returns those that the machine leads.
    ///
    /// # Errors
    /// [`PlatformError`]: a place that another device has, or what a PCI function cannot have.
    pub fn plug(
        self,
        platform: &Platform,
        vm: &impl Interrupts,
        ram: &GuestRam,
        requests: &RequestSink,
    ) -> Result<Vec<Part>, PlatformError> {
        platform.ports.plug_all(self.ports)?;
        platform.mmio.plug_all(self.mmio)?;
        let parts = self.devices.into_iter().map(|device| match device {
            Own::Part(part) => Ok(part),
            Own::Pending(pending) => {
                let gsi = pending.place.gsi;
                let slot = Slot {
                    place: pending.place,
                    line: gsi.map_or_else(IrqLine::unconnected, |gsi| platform.irq_line(vm, gsi)),
                    ram: ram.clone(),
                    requests: requests.clone(),
                };
                Ok(pending.plug(platform, slot)?)
            }
            Own::Function(function) => function.plug(platform, vm, ram, requests),
        });
        parts.collect()
    }
}

impl Pending {
    fn plug(self, platform: &Platform, slot: Slot) -> Result<Part, PlugError> {
        let OwnPlace { ports, mmio, gsi } = self.place;
        let device = (self.make)(slot);
        let part = Part::of(&self.name, device.part);
        let mut part = part.on_line(gsi).described_as(self.acpi);
        if let (Some(range), Some(device)) = (ports, device.ports) {
            let plug = Plug::<Ports>::new(&*self.name, range, device);
            platform.ports.plug_all(vec![plug])?;
            part = part.at(Place::Ports(range));
        }
        if let (Some(range), Some(device)) = (mmio, device.mmio) {
            let plug = Plug::<Mmio>::new(&*self.name, range, device);
            platform.mmio.plug_all(vec![plug])?;
            part = part.at(Place::Mmio(range));
        }
        Ok(part)
    }
}

impl fmt::Debug for OwnDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnDevices")
            .field("ports", &self.ports)
            .field("mmio", &self.mmio)
            .field("devices", &self.devices.len())
            .finish()
    }
}

/// The last `size` addresses of `free` that are aligned to their size, as far as that is a power of 2, and that
/// none of `taken` has.
fn last_free(free: AddressRange, size: u64, taken: &[AddressRange]) -> Option<AddressRange> {
    let alignment = size.checked_next_power_of_two()?.max(1);
    let mut end = free.base.checked_add(free.length)?;
    loop {
        let base = end.checked_sub(size)? / alignment * alignment;
        if base < free.base {
            return None;
        }
        let range = AddressRange::new(base, size);
        match taken.iter().find(|other| other.overlaps(&range)) {
            Some(other) => end = other.base,
            None => return Some(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_from_the_end_and_miss_those_that_are_taken() {
        let free = AddressRange::new(0x700, 0x100);
        let at = |base, size| AddressRange::new(base, size);
        assert_eq!(last_free(free, 4, &[]), Some(at(0x7fc, 4)));
        assert_eq!(last_free(free, 4, &[at(0x7fe, 1)]), Some(at(0x7f8, 4)));
        assert_eq!(last_free(free, 3, &[at(0x7fc, 4)]), Some(at(0x7f8, 3)));
        assert_eq!(last_free(free, 0x100, &[]), Some(free));
        assert_eq!(last_free(free, 0x100, &[at(0x700, 1)]), None);
        assert_eq!(last_free(free, 0x101, &[]), None);
    }

    #[test]
    fn the_interrupts_come_to_an_end() {
        let mut own = OwnDevices::default();
        let needs = Needs::new().line().ports(1);
        let mut add = |name: &str| {
            let make: Make = Box::new(|_| unreachable!("no machine is built"));
            own.add(name, &needs, make)
        };
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..virtio_places::MAX_MMIO {
            let place = add(&format!("own{number}")).unwrap();
            assert!(seen.insert(place.gsi.unwrap().0));
            assert!(seen.insert(place.ports.unwrap().base as u32));
        }
        assert!(matches!(add("own"), Err(NoRoom::Line { name }) if name == "own"));
        let needs = Needs::new().ports(255);
        let make: Make = Box::new(|_| unreachable!("no machine is built"));
        let refused = own.add("wide", &needs, make);
        assert!(matches!(refused, Err(NoRoom::Ports { count: 255, .. })));
    }
}
