//! The table that devices are plugged into, one after the other.

use std::sync::Arc;

use vmmkit_guest_memory::RamConfig;
use vmmkit_host_io::ConsoleTap;
use vmmkit_machine_spec::Field;
use vmmkit_telemetry::BootLog;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::Console;
use vmmkit_vmm::{DeviceId, MachineBuilder, MemoryPlace};

use crate::{Host, Outputs};

/// A machine that is being built, and what its devices share.
pub(crate) struct Plan {
    pub(crate) builder: MachineBuilder,
    pub(crate) host: Arc<dyn Host>,
    /// The guest's RAM.
    pub(crate) ram: RamConfig,
    pub(crate) log: Arc<BootLog>,
    pub(crate) outputs: Arc<Outputs>,
    /// The devices so far: each by the field that asks for it.
    pub(crate) ids: Vec<(Field, DeviceId)>,
    /// The one that is on stdio.
    pub(crate) stdio: Option<Arc<Console>>,
    /// The tap for the first console.
    pub(crate) tap: Option<Arc<ConsoleTap>>,
    /// The console that has it.
    pub(crate) tapped: Option<Arc<Console>>,
}

impl Plan {
    /// With the device of `field`.
    pub(super) fn add(&mut self, field: Field, device: Arc<dyn Device>) {
        let id = self.builder.add_virtio(device);
        self.ids.push((field, id));
    }

    /// The place of the next device's memory.
    pub(super) fn next_memory(&self) -> MemoryPlace {
        self.builder.next_memory()
    }
}
