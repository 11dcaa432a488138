//! Paravirtual devices as PCI functions, and the bus that they are on.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_device_bus::{DeviceId, Lifecycle, SaveState, SavedState, StateError};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Capabilities, DatamatchWidth, IoEventAddress, Vm};
use vmmkit_legacy_devices::{AcpiPm, ResetControl};
use vmmkit_pci::{
    ConfigPorts, Ecam, HostBridge, IsaBridge, PciBus, PciFunction, PciLayout, Q35HostBridge,
};
use vmmkit_telemetry::{Inspect, Tree};
use vmmkit_virtio::{Device, Doorbells, PciTransport, Transport};

use crate::error::PlatformError;
use crate::platform::Platform;
use crate::plugged::Plugged;
use crate::{Part, Place};

/// The names of the parts, as sections of a saved machine have them too.
const BUS_NAME: &str = "pci-bus";
const PORTS_NAME: &str = "pci-config-ports";
const ISA_NAME: &str = "isa-bridge";

/// The bus of a machine, with the bridges that are on it.
pub(crate) struct Chipset(Arc<PciBus>);

impl Plugged for PciTransport {
    fn transport(&self) -> &Transport {
        Self::transport(self)
    }
}

impl Chipset {
    /// A bus behind the generic host bridge, with its configuration spaces at their place in memory.
    pub(crate) fn generic(platform: &Platform) -> Result<Self, PlatformError> {
        let layout = PciLayout::default();
        let bus = Arc::new(PciBus::new(&platform.mmio, layout));
        let bridge = Arc::new(HostBridge::new());
        bus.plug(bridge.clone())?;
        let ecam = Arc::new(Ecam::new(bus.clone()));
        platform.mmio.plug(Ecam::NAME, layout.ecam, ecam)?;
        let part = bus_part(&bus, bridge).at(Place::Mmio(layout.ecam));
        platform.lead(part.restored_last());
        Ok(Self(bus))
    }

    /// That of a Q35: its host bridge has the configuration spaces where firmware wants them, and there is an ISA
    /// bridge.
    pub(crate) fn q35(platform: &Platform) -> Result<Self, PlatformError> {
        let bus = Arc::new(PciBus::new(&platform.mmio, PciLayout::default()));
        // The name of the part is that of the spaces on the memory bus too: they are its own, wherever they are.
        let bridge = Arc::new(Q35HostBridge::new(&bus, &platform.mmio, BUS_NAME));
        bus.plug(bridge.clone())?;
        platform.lead(bus_part(&bus, bridge).restored_last());
        let isa = Arc::new(IsaBridge::new(AcpiPm::PORT));
        bus.plug_at(IsaBridge::DEVICE, isa.clone())?;
        platform.lead(Part::new(ISA_NAME, Arc::new(FunctionPart(isa))));
        Ok(Self(bus))
    }

    /// Plugs in a function for each device, and has the hypervisor deliver kicks and interrupts where it can.
    pub(crate) fn plug<V: Vm + 'static>(
        self,
        devices: Vec<(DeviceId, Arc<dyn Device>)>,
        vm: &Arc<V>,
        capabilities: &Capabilities,
        ram: &GuestRam,
        platform: &Platform,
    ) -> Result<Vec<Arc<dyn Plugged>>, PlatformError> {
        let Self(bus) = self;
        platform.set_pci(&bus);
        let plugged = plug(&bus, devices, vm, capabilities, ram, platform)?;
        // The reset register lies among the ports of the configuration mechanism.
        let reset = platform.ports.unplug(ResetControl::PORT.into());
        let ports = Arc::new(ConfigPorts::new(bus, reset.map(|plug| plug.device)));
        platform
            .ports
            .plug(ConfigPorts::NAME, ConfigPorts::RANGE, ports.clone())?;
        let part = Part::new(PORTS_NAME, Arc::new(PortsPart(ports)));
        platform.lead(part.at(Place::Ports(ConfigPorts::RANGE)));
        Ok(plugged)
    }
}

fn bus_part<B: PciFunction + 'static>(bus: &Arc<PciBus>, bridge: Arc<B>) -> Part {
    let bus = bus.clone();
    Part::new(BUS_NAME, Arc::new(BusPart { bus, bridge }))
}

fn plug<V: Vm + 'static>(
    bus: &PciBus,
    devices: Vec<(DeviceId, Arc<dyn Device>)>,
    vm: &Arc<V>,
    capabilities: &Capabilities,
    ram: &GuestRam,
    platform: &Platform,
) -> Result<Vec<Arc<dyn Plugged>>, PlatformError> {
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
    Ok(plugged)
}

/// The bus and its host bridge. Its other functions are parts of their own; a reset of the bus reaches them too.
struct BusPart<B> {
    bus: Arc<PciBus>,
    bridge: Arc<B>,
}

impl<B: PciFunction> Lifecycle for BusPart<B> {
    fn reset(&self) {
        self.bus.reset();
    }
}

impl<B: PciFunction> Inspect for BusPart<B> {
    fn inspect(&self) -> Tree {
        let functions = (0_u32..).zip(self.bus.functions());
        functions.fold(Tree::new(), |tree, (number, function)| {
            tree.text(format!("device{number}"), &*function.name())
        })
    }
}

impl<B: PciFunction> SaveState for BusPart<B> {
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

/// A function without more to show than its command register. The bus resets it.
struct FunctionPart(Arc<IsaBridge>);

impl Lifecycle for FunctionPart {}

impl Inspect for FunctionPart {
    fn inspect(&self) -> Tree {
        Tree::new().hex("command", self.0.config().lock().command())
    }
}

impl SaveState for FunctionPart {
    fn save_state(&self) -> Result<SavedState, StateError> {
        self.0.save_state()
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        self.0.restore_state(saved)
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
