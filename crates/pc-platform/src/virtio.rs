//! Paravirtual devices behind their transports, and how a kick reaches them without an exit.

use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_device_bus::{AddressRange, DeviceId, Gsi, Mmio, Plug};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Capabilities, DatamatchWidth, IoEventAddress, Vm};
use vmmkit_virtio::spec::mmio;
use vmmkit_virtio::{Device, MmioTransport, Signal, Transport};

use crate::error::PlatformError;
use crate::pci::Chipset;
use crate::platform::Platform;
use crate::plugged::Plugged;
use crate::virtio_places::{GSIS, VirtioTransport, acpi_device, base};
use crate::{Part, Place};

impl Plugged for MmioTransport {
    fn transport(&self) -> &Transport {
        Self::transport(self)
    }
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
        VirtioTransport::Pci | VirtioTransport::Q35 => {
            let bus = match transport {
                VirtioTransport::Q35 => Chipset::q35(platform)?,
                _ => Chipset::generic(platform)?,
            };
            let plugged = bus.plug(devices, vm, capabilities, ram, platform)?;
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
