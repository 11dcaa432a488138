//! What devices are plugged into, one after the other.

use std::sync::Arc;

use vmmkit_guest_memory::RamConfig;
use vmmkit_host_io::TimerFd;
use vmmkit_virtio::Device;
use vmmkit_vmm::{MachineBuilder, MemoryPlace};

use crate::files::Outputs;
use crate::remote::Remote;

/// A machine that is being built, and what its devices share.
pub(crate) struct Plan {
    builder: MachineBuilder,
    ram: RamConfig,
    remote: Arc<Remote>,
    end: Arc<TimerFd>,
    outputs: Arc<Outputs>,
}

impl Plan {
    /// A machine of `ram` and what may be plugged into it; keys go to `remote`, and `end` fires at the end of piped input; files for output are `outputs`.
    pub(crate) fn new(
        builder: MachineBuilder,
        ram: RamConfig,
        remote: Arc<Remote>,
        end: Arc<TimerFd>,
        outputs: Arc<Outputs>,
    ) -> Self {
        Self {
            builder,
            ram,
            remote,
            end,
            outputs,
        }
    }

    /// With a device.
    pub(super) fn with(mut self, device: Arc<dyn Device>) -> Self {
        self.builder.add_virtio(device);
        self
    }

    /// Where more memory may lie.
    pub(super) fn next_memory(&self) -> MemoryPlace {
        self.builder.next_memory()
    }

    /// RAM, and what may be plugged.
    pub(super) fn ram(&self) -> &RamConfig {
        &self.ram
    }

    /// Bytes of RAM.
    pub(super) fn ram_size(&self) -> u64 {
        self.ram.size.bytes()
    }

    pub(super) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(super) fn end_of_input(&self) -> &Arc<TimerFd> {
        &self.end
    }

    pub(super) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The machine with everything.
    pub(crate) fn into_builder(self) -> MachineBuilder {
        self.builder
    }
}
