//! What devices are plugged into, one after the other.

use std::sync::Arc;

use vmmkit_guest_memory::{GuestAddress, GuestRam, Layout, MMIO_HOLE_END, RamSize};
use vmmkit_host_io::TimerFd;
use vmmkit_virtio::Device;
use vmmkit_vmm::MachineBuilder;

use crate::remote::Remote;

/// A machine that is being built, and what its devices share.
pub(crate) struct Plan {
    builder: MachineBuilder,
    ram: RamSize,
    next_address: u64,
    next_slot: u32,
    remote: Arc<Remote>,
    end: Arc<TimerFd>,
}

/// What of memory beside RAM begins at a multiple of.
const ALIGNMENT: u64 = 1 << 30;

impl Plan {
    /// A machine of `ram`; keys go to `remote`, and `end` fires at the end of piped input.
    pub(crate) fn new(
        builder: MachineBuilder,
        ram: RamSize,
        remote: Arc<Remote>,
        end: Arc<TimerFd>,
    ) -> Self {
        let ranges = Layout::of(ram);
        let (mut last, mut slots) = (MMIO_HOLE_END.0, 0);
        for (start, size) in ranges.ranges() {
            last = last.max(start.0 + size);
            slots += 1;
        }
        Self {
            builder,
            ram,
            next_address: last.next_multiple_of(ALIGNMENT),
            next_slot: slots,
            remote,
            end,
        }
    }

    /// With a device.
    pub(super) fn with(mut self, device: Arc<dyn Device>) -> Self {
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

    /// Where more memory may lie, and its slot.
    pub(super) fn next_memory(&mut self) -> (GuestAddress, u32) {
        (GuestAddress(self.next_address), self.next_slot)
    }

    /// Bytes of RAM.
    pub(super) fn ram_size(&self) -> u64 {
        self.ram.bytes()
    }

    pub(super) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(super) fn end_of_input(&self) -> &Arc<TimerFd> {
        &self.end
    }

    /// The machine with everything.
    pub(crate) fn into_builder(self) -> MachineBuilder {
        self.builder
    }
}
