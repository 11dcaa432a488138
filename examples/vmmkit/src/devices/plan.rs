//! The table that devices are plugged into, one after the other.

use std::sync::Arc;

use vmmkit_host_io::TimerFd;
use vmmkit_virtio::Device;
use vmmkit_vmm::{MachineBuilder, MemoryPlace};

use crate::files::Outputs;
use crate::remote::Remote;

/// A machine that is being built, and what its devices share.
pub(crate) struct Plan {
    builder: MachineBuilder,
    remote: Arc<Remote>,
    end: Arc<TimerFd>,
    outputs: Arc<Outputs>,
}

impl Plan {
    /// Devices of `builder`'s machine: keys go to `remote`, `end` fires at the end of piped input, and files for
    /// output are `outputs`.
    pub(crate) fn new(
        builder: MachineBuilder,
        remote: Arc<Remote>,
        end: Arc<TimerFd>,
        outputs: Arc<Outputs>,
    ) -> Self {
        Self {
            builder,
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
