//! What devices are plugged into, one after the other.

use std::sync::Arc;

use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::{GuestAddress, GuestRam, Layout, MMIO_HOLE_END, RamConfig};
use vmmkit_host_io::TimerFd;
use vmmkit_virtio::Device;
use vmmkit_vmm::MachineBuilder;

use super::live::Live;
use crate::files::Outputs;
use crate::remote::Remote;

/// A machine that is being built, and what its devices share.
pub(crate) struct Plan {
    builder: MachineBuilder,
    ram: RamConfig,
    next_address: u64,
    next_slot: u32,
    live: Vec<(String, Live)>,
    remote: Arc<Remote>,
    end: Arc<TimerFd>,
    outputs: Arc<Outputs>,
}

/// What of memory beside RAM begins at a multiple of.
const ALIGNMENT: u64 = 1 << 30;

impl Plan {
    /// A machine of `ram` and what may be plugged into it; keys go to `remote`, and `end` fires at the end of piped input; files for output are `outputs`.
    pub(crate) fn new(
        builder: MachineBuilder,
        ram: RamConfig,
        remote: Arc<Remote>,
        end: Arc<TimerFd>,
        outputs: Arc<Outputs>,
    ) -> Self {
        let layout = Layout::of(ram.size);
        let area = ram.plug_area();
        let (mut last, mut slots) = (MMIO_HOLE_END.0, 0);
        for (start, size) in layout.ranges().iter().chain(&area) {
            last = last.max(start.0 + size);
            slots += 1;
        }
        Self {
            builder,
            ram,
            next_address: last.next_multiple_of(ALIGNMENT),
            next_slot: slots,
            live: Vec::new(),
            remote,
            end,
            outputs,
        }
    }

    /// With a device.
    pub(super) fn with(self, device: Arc<dyn Device>) -> Self {
        self.with_live(Live::Other(device))
    }

    /// With a device that can be changed while the guest runs.
    pub(super) fn with_live(mut self, live: Live) -> Self {
        let device = live.device();
        let kind = device.kind();
        // As the machine calls it: its kind, and its number among those.
        let same = |(_, other): &&(String, Live)| other.device().kind() == kind;
        let number = self.live.iter().filter(same).count();
        self.live.push((format!("{}{number}", kind.name()), live));
        self.builder = self.builder.virtio_device(device);
        self
    }

    /// With memory, at the address and in the slot that were [next](Self::next_memory).
    pub(super) fn with_memory(mut self, memory: GuestRam) -> Self {
        self.next_address = (self.next_address + memory.size()).next_multiple_of(ALIGNMENT);
        self.next_slot += 1;
        self.builder = self.builder.memory(memory);
        self
    }

    /// With memory that may be plugged, which `reset` unplugs.
    pub(super) fn with_area(mut self, area: GuestRam, reset: Arc<dyn Lifecycle>) -> Self {
        self.builder = self.builder.memory(area).reset_too(reset);
        self
    }

    /// Where more memory may lie, and its slot.
    pub(super) fn next_memory(&mut self) -> (GuestAddress, u32) {
        (GuestAddress(self.next_address), self.next_slot)
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

    /// All devices, by their names in the machine.
    pub(crate) fn live(&self) -> Vec<(String, Live)> {
        self.live.clone()
    }

    /// The machine with everything.
    pub(crate) fn into_builder(self) -> MachineBuilder {
        self.builder
    }
}
