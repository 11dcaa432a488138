//! The platform: which devices there are, where, on which line; and their description to the guest.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_boot_loader::acpi::{
    AcpiConfig, IoapicInfo, LegacyHardware, LinkedTables, MemoryRange, PciHost, PmPorts,
    ResetRegister,
};
use vmmkit_device_bus::{
    AddressRange, Gsi, IrqLine, MmioBus, MsiMessage, PlugError, PortBus, RegionInfo, RequestSink,
};
use vmmkit_guest_memory::{GuestRam, MMIO_HOLE_END};
use vmmkit_host_io::{Stopwatch, wall_clock};
use vmmkit_hypervisor::{ExitCounter, Interrupts, Irqchip, VcpuExits, VcpuId, Vm};
use vmmkit_legacy_devices::acpi_pm::spec as pm;
use vmmkit_legacy_devices::reset::spec as reset;
use vmmkit_legacy_devices::{
    AcpiPm, Cmos, DebugExit, I8042, Ioapic, IoapicOutput, PostCode, Pvpanic, ResetControl,
    SerialOutput, SerialPort, SystemControlB,
};
use vmmkit_pci::PciBus;

use crate::description::{Description, PlatformConfig};
use crate::virtio_places::VirtioTransport;
use crate::{Generation, Part, Place, PlatformError, SaveError, firmware, table};

/// The devices of one machine and the buses they are plugged into.
pub struct Platform {
    /// The I/O ports.
    pub ports: Arc<PortBus>,
    /// The guest-physical addresses that are not RAM.
    pub mmio: Arc<MmioBus>,
    /// The first serial port.
    pub serial: Arc<SerialPort>,
    /// The keyboard controller.
    pub keyboard: Arc<I8042>,
    /// Power button, sleep and the PM timer.
    pub power: Arc<AcpiPm>,
    /// Where it is not the hypervisor's.
    pub ioapic: Option<Arc<Ioapic>>,
    /// Where there is one.
    pci: OnceLock<Arc<PciBus>>,
    /// The generation, which tells the guest that it is a clone, where ACPI describes the machine.
    generation: Option<Arc<Generation>>,
    /// The parts that the machine leads, beside the virtio devices, until it takes them.
    parts: Mutex<Vec<Part>>,
    /// The exit counter of each vCPU.
    exits: Mutex<Vec<Arc<ExitCounter>>>,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("ports", &self.ports)
            .field("mmio", &self.mmio)
            .finish_non_exhaustive()
    }
}

impl Platform {
    /// Makes every device, with its line to the interrupt controllers of `vm`, and plugs it in.
    ///
    /// # Errors
    /// [`PlugError`] where two of them want the same place.
    pub fn plug(
        vm: &Arc<impl Vm + 'static>,
        irqchip: Irqchip,
        requests: RequestSink,
        ram: &GuestRam,
        output: Box<dyn SerialOutput>,
        stopwatch: Arc<Stopwatch>,
    ) -> Result<Self, PlugError> {
        let is_split = irqchip == Irqchip::Split;
        let ioapic = is_split.then(|| Arc::new(Ioapic::new(Arc::new(Messages(vm.clone())))));
        let line = |row: &table::Row| match row.line {
            Some(gsi) => line(ioapic.as_ref(), &**vm, gsi),
            None => IrqLine::unconnected(),
        };
        let serial = Arc::new(SerialPort::new(output, line(&table::SERIAL)));
        let keyboard = Arc::new(I8042::new(line(&table::KEYBOARD), requests.clone()));
        let clock = Arc::new(move || stopwatch.nanoseconds());
        let power = Arc::new(AcpiPm::new(clock, line(&table::POWER), requests.clone()));
        let (below_4g, above_4g) = ram_around_hole(ram);
        let cmos = Arc::new(Cmos::new(Arc::new(wall_clock), below_4g, above_4g));
        let resets = Arc::new(ResetControl::new(requests.clone()));
        let debug_exit = Arc::new(DebugExit::new(requests.clone()));
        let pvpanic = Arc::new(Pvpanic::new(requests));
        let post = Arc::new(PostCode::new());

        let ports = Arc::new(PortBus::new());
        let mut parts = vec![
            table::SERIAL.plug(&ports, &serial)?,
            table::KEYBOARD.plug(&ports, &keyboard)?,
            table::CMOS.plug(&ports, &cmos)?,
            table::POWER.plug(&ports, &power)?,
            table::POST.plug(&ports, &post)?,
            table::RESET.plug(&ports, &resets)?,
            table::DEBUG_EXIT.plug(&ports, &debug_exit)?,
            table::PVPANIC.plug(&ports, &pvpanic)?,
        ];
        if irqchip != (Irqchip::InKernel { pit: true }) {
            let control = Arc::new(SystemControlB::new());
            parts.push(table::SYSTEM_CONTROL.plug(&ports, &control)?);
        }
        let mmio = Arc::new(MmioBus::new());
        if let Some(ioapic) = &ioapic {
            parts.push(plug_ioapic(ioapic, &mmio)?);
        }
        Ok(Self {
            ports,
            mmio,
            exits: Mutex::default(),
            pci: OnceLock::new(),
            generation: None,
            parts: Mutex::new(parts),
            ioapic,
            serial,
            keyboard,
            power,
        })
    }

    /// Adds the devices that tell a guest of its machine: firmware its configuration, a kernel that is described by
    /// ACPI that it is a clone. `described` is all that there is, in `ram`.
    ///
    /// # Errors
    /// [`PlatformError`]: the host has no random numbers, or the machine cannot be described.
    pub fn add_guides(
        &mut self,
        vm: &impl Interrupts,
        ram: &GuestRam,
        config: PlatformConfig,
        described: &Description<'_>,
    ) -> Result<(), PlatformError> {
        if config.has_firmware {
            let tables = || LinkedTables::new(&Self::describe(config, described));
            let tables = config.acpi.then(tables).transpose()?;
            let device = Arc::new(firmware::device(ram, config, described, tables)?);
            self.lead(table::FW_CFG.plug(&self.ports, &device)?);
            Ok(())
        } else if config.acpi {
            self.add_generation(vm, ram)
        } else {
            Ok(())
        }
    }

    /// Adds what tells a guest that it is a clone, in the pages of `ram` that ACPI describes it at.
    fn add_generation(
        &mut self,
        vm: &impl Interrupts,
        ram: &GuestRam,
    ) -> Result<(), PlatformError> {
        let line = self.irq_line(vm, Generation::GSI);
        let generation = Generation::new(ram, line).map_err(|source| PlatformError::Device {
            name: Generation::NAME.to_owned(),
            source,
        })?;
        let generation = Arc::new(generation);
        let part = Part::new(Generation::NAME, generation.clone());
        let part = part.on_line(Some(Generation::GSI));
        self.lead(part.described_as(Some(Generation::ACPI)));
        self.generation = Some(generation);
        Ok(())
    }

    /// RAM has been loaded anew: its platform's pages are written again.
    pub fn write_pages(&self) {
        if let Some(generation) = &self.generation {
            generation.write();
        }
    }

    /// The PCI bus, once paravirtual devices are on it.
    pub(crate) fn pci(&self) -> Option<&PciBus> {
        self.pci.get().map(|bus| &**bus)
    }

    /// `bus` is the machine's.
    pub(crate) fn set_pci(&self, bus: &Arc<PciBus>) {
        let _ = self.pci.set(bus.clone());
    }

    /// The line to pin `gsi` of the interrupt controllers of `vm`.
    pub fn irq_line(&self, vm: &impl Interrupts, gsi: Gsi) -> IrqLine {
        line(self.ioapic.as_ref(), vm, gsi)
    }

    /// The I/O APIC, for the vCPUs, where it is not the hypervisor's.
    pub fn end_of_interrupt(&self) -> Option<impl Fn(u8) + Send + Sync + use<>> {
        let ioapic = self.ioapic.clone()?;
        Some(move |vector| ioapic.end_of_interrupt(vector))
    }

    /// Whether the hypervisor is told where each pin leads, as the I/O APIC is not its own.
    pub fn routes_pins(&self) -> bool {
        self.ioapic.is_some()
    }

    /// Has the machine lead `part` too, after those before.
    pub(crate) fn lead(&self, part: Part) {
        self.parts().push(part);
    }

    /// The parts that the machine leads, in the order to start them, without the virtio devices.
    pub fn take_parts(&self) -> Vec<Part> {
        std::mem::take(&mut *self.parts())
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock()
    }

    /// Checks that each range on the buses belongs to one of `parts`: a device may have been plugged in that was made no part.
    ///
    /// # Errors
    /// [`SaveError::NotAPart`] for the first such device.
    pub fn check_owned(&self, parts: &[Part]) -> Result<(), SaveError> {
        let is_owned = |region: &RegionInfo| {
            parts.iter().any(|part| {
                let mut places = part.places().iter().map(|place| place.range());
                part.id().as_str() == &*region.name || places.any(|range| range == region.range)
            })
        };
        let regions = self.ports.regions().into_iter().chain(self.mmio.regions());
        let unowned = regions.into_iter().find(|region| !is_owned(region));
        unowned.map_or(Ok(()), |region| {
            let device = region.name.to_string();
            Err(SaveError::NotAPart { device })
        })
    }

    /// The exit counter of `vcpu`, over all resets. vCPUs are made in the order of their numbers.
    pub fn exit_counter(&self, vcpu: VcpuId) -> Arc<ExitCounter> {
        let mut exits = self.exits.lock();
        let known = exits.get(vcpu.0 as usize).cloned();
        known.unwrap_or_else(|| {
            let counter = Arc::new(ExitCounter::new(vcpu, &self.ports, &self.mmio));
            exits.push(counter.clone());
            counter
        })
    }

    /// The exits of every vCPU by reason.
    pub fn exits(&self) -> Vec<VcpuExits> {
        let exits = self.exits.lock();
        exits.iter().map(|counter| counter.exits()).collect()
    }

    /// The ACPI tables' contents of a machine.
    pub fn describe(config: PlatformConfig, machine: &Description<'_>) -> AcpiConfig {
        let Description {
            devices,
            ram,
            apic_ids,
            ..
        } = machine;
        let (mmio, pci) = match config.virtio {
            VirtioTransport::Mmio => (devices.virtio, None),
            VirtioTransport::Q35 => (0, Some(firmware::q35_host(ram))),
            VirtioTransport::Pci if config.has_firmware => (0, Some(firmware::pci_host())),
            VirtioTransport::Pci => (0, Some(PciHost::default())),
        };
        let guide = match config.has_firmware {
            true => firmware::ACPI,
            false => Generation::ACPI,
        };
        let has_pit = config.irqchip == Irqchip::InKernel { pit: true };
        AcpiConfig {
            apic_ids: apic_ids.clone(),
            memory: MemoryRange::of(ram),
            ioapic: IoapicInfo::default(),
            pm: PmPorts {
                pm1a_event: pm::PM1A_EVENT,
                pm1a_control: pm::PM1A_CONTROL,
                // Also beside a PIT: on a loaded host a guest that cannot measure its time-stamp
                // counter by that has another clock to go by.
                pm_timer: Some(pm::PM_TIMER),
                sci: pm::SCI,
                sleep_type_s5: pm::S5_SLEEP_TYPE,
            },
            reset: ResetRegister {
                port: reset::RESET_CONTROL,
                value: reset::RESET_VALUE,
            },
            legacy: LegacyHardware {
                i8042: true,
                cmos_rtc: true,
                vga: false,
                pic: config.irqchip != Irqchip::Split,
                pit: has_pit,
            },
            devices: table::TABLE
                .into_iter()
                .filter_map(|row| row.acpi)
                .chain(crate::virtio_places::describe(mmio))
                .chain([guide])
                .chain(devices.own.iter().copied())
                .collect(),
            objects: devices.objects.clone(),
            pci,
            oem: config.oem,
        }
    }
}

/// Plugs the VMM's own I/O APIC in.
fn plug_ioapic(ioapic: &Arc<Ioapic>, mmio: &MmioBus) -> Result<Part, PlugError> {
    let range = AddressRange::new(Ioapic::ADDRESS, Ioapic::LENGTH);
    mmio.plug(Ioapic::NAME, range, ioapic.clone())?;
    let part = Part::new(Ioapic::NAME, ioapic.clone()).at(Place::Mmio(range));
    Ok(part.restored_last())
}

/// The line to pin `gsi` of `ioapic`, or of the hypervisor's where that has it.
fn line(ioapic: Option<&Arc<Ioapic>>, vm: &impl Interrupts, gsi: Gsi) -> IrqLine {
    match ioapic {
        Some(ioapic) => IrqLine::new(ioapic.clone(), gsi),
        None => vm.irq_line(gsi),
    }
}

/// Messages of the I/O APIC to the hypervisor's local APICs, which count what they cannot take.
struct Messages<V>(Arc<V>);

impl<V: Vm> IoapicOutput for Messages<V> {
    fn deliver(&self, message: MsiMessage) {
        let _ = self.0.signal_msi(message);
    }

    fn route(&self, pin: u32, message: Option<MsiMessage>) {
        let _ = self.0.route_pin(Gsi(pin), message);
    }
}

/// Bytes of RAM below and above the MMIO hole.
fn ram_around_hole(ram: &GuestRam) -> (u64, u64) {
    let regions = ram.regions().iter();
    let high = regions.filter(|region| region.guest_address >= MMIO_HOLE_END);
    let above: u64 = high.map(|region| region.size).sum();
    (ram.size() - above, above)
}

#[cfg(test)]
mod tests {
    use vmmkit_guest_memory::RamConfig;

    use super::*;
    use crate::DescribedDevices;

    #[test]
    fn a_pm_timer_is_told_whatever_timer_there_is_beside_it() {
        for irqchip in [
            Irqchip::InKernel { pit: true },
            Irqchip::InKernel { pit: false },
            Irqchip::Split,
        ] {
            let config = PlatformConfig {
                irqchip,
                virtio: VirtioTransport::Mmio,
                has_firmware: false,
                acpi: true,
                oem: vmmkit_boot_loader::Oem::default(),
            };
            let devices = DescribedDevices::default();
            let ram = RamConfig::default();
            let told = Platform::describe(config, &Description::new(&devices, &ram, vec![0]));
            assert_eq!(told.pm.pm_timer, Some(pm::PM_TIMER));
            assert_eq!(told.legacy.pit, irqchip == Irqchip::InKernel { pit: true });
        }
    }
}
