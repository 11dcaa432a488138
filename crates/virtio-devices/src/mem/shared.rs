//! State shared by the device, its engine and the VMM.

use parking_lot::{Mutex, MutexGuard};

use vmmkit_guest_memory::{BLOCK_SIZE, GuestAddress, GuestRam};
use vmmkit_virtio::ConfigChange;

use super::{MemAnswer, MemArea, MemCounters, MemRequest, Released, spec};

/// The shared state. No lock is held while another is taken.
#[derive(Debug)]
pub(super) struct Shared {
    memory: GuestRam,
    area: Mutex<MemArea>,
    counters: Mutex<MemCounters>,
    change: Mutex<Option<ConfigChange>>,
}

impl Shared {
    pub(super) fn new(memory: GuestRam, area: MemArea) -> Self {
        Self {
            memory,
            area: Mutex::new(area),
            counters: Mutex::default(),
            change: Mutex::default(),
        }
    }

    pub(super) fn memory(&self) -> &GuestRam {
        &self.memory
    }

    pub(super) fn area(&self) -> MutexGuard<'_, MemArea> {
        self.area.lock()
    }

    pub(super) fn counters(&self) -> MemCounters {
        *self.counters.lock()
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut MemCounters)) {
        add(&mut self.counters.lock());
    }

    pub(super) fn connect(&self, change: ConfigChange) {
        *self.change.lock() = Some(change);
    }

    /// Tells the driver that the configuration has changed.
    pub(super) fn tell(&self) {
        let change = self.change.lock().clone();
        if let Some(change) = change {
            change.notify();
        }
    }

    /// Does what the driver asks for.
    pub(super) fn answer(&self, request: MemRequest) -> MemAnswer {
        let (answer, released) = self.area().answer(request);
        // Before the driver is told, and may plug the same again.
        let discarded = released.map_or(0, |range| self.discard(range));
        self.count(|counters| {
            counters.discarded_bytes += discarded;
            match (request, answer) {
                (_, MemAnswer::Nack) => counters.refused += 1,
                (_, MemAnswer::Error) => counters.errors += 1,
                (MemRequest::Plug(_), _) => counters.plugs += 1,
                (MemRequest::State(_), _) => counters.states += 1,
                (MemRequest::Unplug(_) | MemRequest::UnplugAll, _) => counters.unplugs += 1,
            }
        });
        answer
    }

    /// Unplugs everything.
    pub(super) fn power_on(&self) {
        let released = self.area().unplug_all();
        if let Some(range) = released {
            self.discard(range);
        }
    }

    /// Gives bytes back to the host; how many that were. One that keeps them loses nothing but room.
    fn discard(&self, range: Released) -> u64 {
        let given = self
            .memory
            .discard(GuestAddress(range.address), range.length);
        given.unwrap_or(0)
    }

    /// The configuration as the driver reads it.
    pub(super) fn config(&self) -> [u8; spec::CONFIG_SIZE] {
        let mut config = [0; spec::CONFIG_SIZE];
        let area = self.area();
        for (offset, value) in [
            (spec::CONFIG_BLOCK_SIZE, BLOCK_SIZE),
            (spec::CONFIG_ADDR, area.start()),
            (spec::CONFIG_REGION_SIZE, area.size()),
            (spec::CONFIG_USABLE_REGION_SIZE, area.size()),
            (spec::CONFIG_PLUGGED_SIZE, area.plugged()),
            (spec::CONFIG_REQUESTED_SIZE, area.requested()),
        ] {
            let bytes = value.to_le_bytes();
            for (byte, value) in config.iter_mut().skip(offset).zip(bytes) {
                *byte = value;
            }
        }
        config
    }
}
