//! Paravirtual devices: where their registers are, which interrupts they have, and how a kick
//! reaches them without an exit.

use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_boot_loader::acpi::AcpiDevice;
use vmmkit_boot_loader::with_parameters;
use vmmkit_device_bus::{AddressRange, DeviceId, Gsi, Mmio, Plug};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Capabilities, DatamatchWidth, IoEventAddress, Vm};
use vmmkit_virtio::spec::mmio;
use vmmkit_virtio::{Device, MmioTransport, Signal, Transport};

use crate::error::PlatformError;
use crate::platform::{Platform, VirtioTransport};
use crate::{Part, PartDevice, Place};

/// Where the registers of the first device are; the others follow. In the MMIO hole, far below the
/// interrupt controllers.
const FIRST: u64 = 0xd000_0000;

/// The interrupts that no other device of the platform has: ISA's first, which an MP table
/// describes too, then the I/O APIC's own.
const GSIS: [u32; 16] = [5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// The most devices that there can be.
pub(crate) const MAX: usize = GSIS.len();

/// The last of the interrupts that no other device has, after so many that were given from the end.
pub(crate) fn last_gsi(given: usize) -> Option<Gsi> {
    GSIS.iter().rev().nth(given).copied().map(Gsi)
}

/// A device behind a transport.
pub trait Plugged: PartDevice {
    /// The common part of all transports.
    fn transport(&self) -> &Transport;
}

impl Plugged for MmioTransport {
    fn transport(&self) -> &Transport {
        Self::transport(self)
    }
}

/// The address of device `index`.
fn base(index: usize) -> u64 {
    FIRST + index as u64 * mmio::LENGTH
}

/// The ACPI description of `count` devices.
pub(crate) fn describe(count: usize) -> impl Iterator<Item = AcpiDevice> {
    (0..count.min(MAX)).map(acpi_device)
}

/// The ACPI description of device `index`.
fn acpi_device(index: usize) -> AcpiDevice {
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

/// Plugs `devices` in, each behind a transport of the kind `transport`.
///
/// # Errors
/// [`PlatformError`]: the host or the hypervisor has nothing left for a device.
pub fn plug_all<V: Vm + 'static>(
    transport: VirtioTransport,
    devices: Vec<(DeviceId, Arc<dyn Device>)>,
    vm: &Arc<V>,
    capabilities: &Capabilities,
    ram: &GuestRam,
    platform: &Platform,
) -> Result<Wired, PlatformError> {
    match transport {
        VirtioTransport::Mmio => plug(devices, &**vm, capabilities, ram, platform),
        VirtioTransport::Pci => {
            let plugged = crate::pci::plug(devices, vm, capabilities, ram, platform)?;
            Ok((plugged, Vec::new()))
        }
    }
}

/// Makes a transport for each device, plugs it in, and has the hypervisor deliver kicks and
/// interrupts where it can.
fn plug<V: Vm>(
    devices: Vec<(DeviceId, Arc<dyn Device>)>,
    vm: &V,
    capabilities: &Capabilities,
    ram: &GuestRam,
    platform: &Platform,
) -> Result<Wired, PlatformError> {
    let mut plugged: Vec<Arc<dyn Plugged>> = Vec::new();
    let mut wires = Vec::new();
    for (index, ((name, device), gsi)) in devices.into_iter().zip(GSIS).enumerate() {
        let failed = |source| PlatformError::Device {
            name: name.to_string(),
            source,
        };
        // KVM delivers an irqfd of a pin of its own I/O APIC by a thread (irqfd_inject of Linux), which
        // takes longer than the two calls of a pulse.
        let has_irqfd = capabilities.irqfd && platform.routes_pins();
        let irq = has_irqfd.then(EventFd::new).transpose();
        let irq = irq.map_err(failed)?.map(Arc::new);
        let signal: Arc<dyn Signal> = match &irq {
            Some(event) => event.clone(),
            None => Arc::new(platform.irq_line(vm, Gsi(gsi))),
        };
        let transport = MmioTransport::new(name.as_str(), device, ram, signal).map_err(failed)?;
        let transport = Arc::new(transport);
        let wire = Wire {
            irq,
            gsi: Gsi(gsi),
            kicks: capabilities.ioeventfd.then(|| transport.clone()),
            base: base(index),
        };
        wire.attach(vm)?;
        wires.push(wire);
        let range = AddressRange::new(base(index), mmio::LENGTH);
        platform.mmio.plug_all(vec![Plug::<Mmio>::new(
            name.as_str(),
            range,
            transport.clone(),
        )])?;
        let part = Part::new(name.as_str(), transport.clone());
        let part = part.at(Place::Mmio(range)).on_line(Some(Gsi(gsi)));
        platform.lead(part.described_as(Some(acpi_device(index))));
        plugged.push(transport);
    }
    Ok((plugged, wires))
}

/// Devices behind their transports, and what the VM is told of them.
pub type Wired = (Vec<Arc<dyn Plugged>>, Vec<Wire>);

/// The wiring of one device for a VM: its interrupt, its kicks and the driver's acknowledgements.
#[derive(Debug)]
pub struct Wire {
    irq: Option<Arc<EventFd>>,
    gsi: Gsi,
    kicks: Option<Arc<MmioTransport>>,
    base: u64,
}

impl Wire {
    /// Tells `vm`, which knows nothing of the device.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn attach(&self, vm: &impl Vm) -> Result<(), vmmkit_hypervisor::Error> {
        if let Some(event) = &self.irq {
            // What was raised for the old guest is not the new one's.
            event.drain();
            vm.attach_irqfd(event.as_fd(), self.gsi)?;
        }
        let Some(transport) = &self.kicks else {
            return Ok(());
        };
        // Without a descriptor for it each acknowledgement is an exit, no worse.
        if let Ok(event) = transport.acknowledgement() {
            let address = IoEventAddress::Mmio(self.base + mmio::INTERRUPT_ACK);
            let value = DatamatchWidth::Dword(mmio::INT_VRING);
            vm.attach_ioevent(event.as_fd(), address, value)?;
        }
        // A write of a queue's number here raises its kick.
        let address = IoEventAddress::Mmio(self.base + mmio::QUEUE_NOTIFY);
        for index in 0..transport.transport().queue_count() {
            if let Some(kick) = transport.transport().kick(index) {
                let value = DatamatchWidth::Dword(index.into());
                vm.attach_ioevent(kick.as_fd(), address, value)?;
            }
        }
        Ok(())
    }
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
