//! The power-on of a machine that is there: what a reset makes of it.

use std::error::Error;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::Vm;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_run_control::{Hardware, Supervisor, Vcpus};

use crate::MachineConfig;
use crate::boot::{self, BootFiles};
use crate::cpus::{self, Start};
use crate::devices::Devices;
use crate::error::BuildError;
use vmmkit_pc_platform::{DescribedDevices, Platform, Wire};

/// All that a power-on needs.
pub(crate) struct Board<V> {
    pub(crate) vm: Arc<V>,
    pub(crate) config: MachineConfig,
    pub(crate) described: DescribedDevices,
    pub(crate) supported: Vec<CpuidEntry>,
    pub(crate) files: Mutex<BootFiles>,
    pub(crate) ram: GuestRam,
    pub(crate) platform: Arc<Platform>,
    pub(crate) devices: Arc<Devices>,
    pub(crate) wires: Vec<Wire>,
}

impl<V: Vm> Hardware for Board<V> {
    fn power_on(&self) -> Result<Vcpus, Box<dyn Error + Send + Sync>> {
        Ok(self.start_anew()?)
    }

    fn quiesce(&self, supervisor: &Supervisor) {
        // Without a deadline only an end cuts it short.
        let _ = self.devices.rest(supervisor, None);
    }
}

impl<V: Vm> Board<V> {
    fn start_anew(&self) -> Result<Vcpus, BuildError> {
        // Before the VM: devices let go of the interrupts and kicks that they have there.
        self.devices.reset();
        self.vm.renew()?;
        for region in self.ram.regions() {
            let size = usize::try_from(region.size).unwrap_or(usize::MAX);
            // A region is inside its own RAM.
            let _ = self.ram.fill(region.guest_address, size, 0);
        }
        let mut files = self.files.lock();
        let (entry, _) = boot::load(&mut files, &self.ram, &self.config, &self.described)?;
        self.platform.write_pages();
        for wire in &self.wires {
            wire.attach(&*self.vm)?;
        }
        let Self {
            vm,
            supported,
            config,
            platform,
            ..
        } = self;
        let start = Start::Entry(entry);
        cpus::create(supported, &**vm, config, platform, &start)
    }
}
