//! Paravirtual devices as PCI functions, and the bus that they are on.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_device_bus::{DeviceId, Lifecycle};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Capabilities, DatamatchWidth, IoEventAddress, Vm};
use vmmkit_legacy_devices::ResetControl;
use vmmkit_pci::{ConfigPorts, Ecam, HostBridge, PciBus, PciLayout};
use vmmkit_virtio::{Device, Doorbells, PciTransport, Transport};

use crate::Part;
use crate::error::PlatformError;
use crate::platform::Platform;
use crate::virtio::Plugged;

/// The most devices: the bus has 32 places, and the host bridge has one of them.
pub(crate) const MOST: usize = 31;

impl Plugged for PciTransport {
    fn transport(&self) -> &Transport {
        Self::transport(self)
    }
}

/// Makes a bus with a function for each device, and has the hypervisor deliver kicks and interrupts
/// where it can.
pub(crate) fn plug<V: Vm + 'static>(
    devices: Vec<(DeviceId, Arc<dyn Device>)>,
    vm: &Arc<V>,
    capabilities: &Capabilities,
    ram: &GuestRam,
    platform: &Platform,
) -> Result<Vec<Arc<dyn Plugged>>, PlatformError> {
    let layout = PciLayout::default();
    let bus = Arc::new(PciBus::new(&platform.mmio, layout));
    bus.plug(Arc::new(HostBridge::new()))?;
    let registers = Arc::new(BusRegisters(bus.clone()));
    platform.lead(Part::without_state("pci bus", registers));
    let mut plugged: Vec<Arc<dyn Plugged>> = Vec::new();
    for (name, device) in devices {
        let mut vector = || vm.msi_vector().map_err(io::Error::other);
        let doorbells = || -> Arc<dyn Doorbells> { Arc::new(VmDoorbells(vm.clone())) };
        let doorbells = capabilities.ioeventfd.then(doorbells);
        let transport = PciTransport::new(name.as_str(), device, ram, &mut vector, doorbells)
            .map_err(|source| PlatformError::Device {
                name: name.to_string(),
                source,
            })?;
        let transport = Arc::new(transport);
        bus.plug(transport.clone())?;
        plugged.push(transport);
    }
    // The reset register lies among the ports of the configuration mechanism.
    let reset = platform.ports.unplug(ResetControl::PORT.into());
    let ports = Arc::new(ConfigPorts::new(bus.clone(), reset.map(|plug| plug.device)));
    platform
        .ports
        .plug(ConfigPorts::NAME, ConfigPorts::RANGE, ports.clone())?;
    platform.lead(Part::without_state(ConfigPorts::NAME, ports));
    platform
        .mmio
        .plug(Ecam::NAME, layout.ecam, Arc::new(Ecam::new(bus)))?;
    Ok(plugged)
}

/// What of the bus is reset. Its functions are parts of their own in every other step.
struct BusRegisters(Arc<PciBus>);

impl Lifecycle for BusRegisters {
    fn reset(&self) {
        self.0.reset();
    }
}

/// Kicks by the hypervisor. One that it refuses is an exit instead.
struct VmDoorbells<V>(Arc<V>);

impl<V: Vm> Doorbells for VmDoorbells<V> {
    fn attach(&self, kick: &EventFd, address: u64) {
        let address = IoEventAddress::Mmio(address);
        let _ = self
            .0
            .attach_ioevent(kick.as_fd(), address, DatamatchWidth::Any);
    }

    fn detach(&self, kick: &EventFd, address: u64) {
        let address = IoEventAddress::Mmio(address);
        let _ = self
            .0
            .detach_ioevent(kick.as_fd(), address, DatamatchWidth::Any);
    }
}
