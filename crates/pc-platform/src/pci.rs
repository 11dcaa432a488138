//! Paravirtual devices as PCI functions, and the bus that they are on.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_device_bus::{DeviceId, Lifecycle, SaveState, SavedState, StateError};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Capabilities, DatamatchWidth, IoEventAddress, Vm};
use vmmkit_legacy_devices::ResetControl;
use vmmkit_pci::{ConfigPorts, Ecam, HostBridge, PciBus, PciLayout};
use vmmkit_telemetry::{Inspect, Tree};
use vmmkit_virtio::{Device, Doorbells, PciTransport, Transport};

use crate::error::PlatformError;
use crate::platform::Platform;
use crate::plugged::Plugged;
use crate::{Part, Place};

/// The names of the parts, as sections of a saved machine have them too.
const BUS_NAME: &str = "pci-bus";
const PORTS_NAME: &str = "pci-config-ports";

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
    let bridge = Arc::new(HostBridge::new());
    platform.set_pci(&bus);
    bus.plug(bridge.clone())?;
    let part = Part::new(
        BUS_NAME,
        Arc::new(BusPart {
            bus: bus.clone(),
            bridge,
        }),
    );
    platform.lead(part.at(Place::Mmio(layout.ecam)).restored_last());
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
        platform.lead(Part::new(name.as_str(), transport.clone()));
        plugged.push(transport);
    }
    // The reset register lies among the ports of the configuration mechanism.
    let reset = platform.ports.unplug(ResetControl::PORT.into());
    let ports = Arc::new(ConfigPorts::new(bus.clone(), reset.map(|plug| plug.device)));
    platform
        .ports
        .plug(ConfigPorts::NAME, ConfigPorts::RANGE, ports.clone())?;
    let part = Part::new(PORTS_NAME, Arc::new(PortsPart(ports)));
    platform.lead(part.at(Place::Ports(ConfigPorts::RANGE)));
    platform
        .mmio
        .plug(Ecam::NAME, layout.ecam, Arc::new(Ecam::new(bus)))?;
    Ok(plugged)
}

/// The bus and its host bridge. Its other functions are parts of their own; a reset of the bus reaches them too.
struct BusPart {
    bus: Arc<PciBus>,
    bridge: Arc<HostBridge>,
}

impl Lifecycle for BusPart {
    fn reset(&self) {
        self.bus.reset();
    }
}

impl Inspect for BusPart {
    fn inspect(&self) -> Tree {
        let functions = (0_u32..).zip(self.bus.functions());
        functions.fold(Tree::new(), |tree, (number, function)| {
            tree.text(format!("device{number}"), &*function.name())
        })
    }
}

impl SaveState for BusPart {
    fn save_state(&self) -> Result<SavedState, StateError> {
        self.bridge.save_state()
    }

    /// Functions are restored by then: the bus finds their base addresses where these are now.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        self.bridge.restore_state(saved)?;
        self.bus.settle_all();
        Ok(())
    }
}

/// The ports of configuration mechanism 1.
struct PortsPart(Arc<ConfigPorts>);

impl Lifecycle for PortsPart {
    fn reset(&self) {
        Lifecycle::reset(&*self.0);
    }
}

impl Inspect for PortsPart {
    fn inspect(&self) -> Tree {
        Tree::new().hex("address", self.0.state())
    }
}

impl SaveState for PortsPart {
    fn save_state(&self) -> Result<SavedState, StateError> {
        self.0.save_state()
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        self.0.restore_state(saved)
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
