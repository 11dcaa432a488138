//! Traffic, losses and errors.

use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_telemetry::Tree;

/// The packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetFlow {
    /// Packets that went through.
    pub packets: u64,
    /// Their bytes, without the header of virtio.
    pub bytes: u64,
    /// Packets that were dropped: the link was down, or the guest had no room for them.
    pub drops: u64,
    /// Packets that the host refused, and chains that hold no packet or have no room for one.
    pub errors: u64,
}

/// The packets of a device, as the guest names the directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetStats {
    /// To the guest.
    pub received: NetFlow,
    /// From the guest.
    pub transmitted: NetFlow,
}

impl NetFlow {
    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.drops += other.drops;
        self.errors += other.errors;
    }
}

impl NetFlow {
    pub(super) fn tree(self) -> Tree {
        Tree::new()
            .counter("packets", self.packets)
            .counter("bytes", self.bytes)
            .counter("drops", self.drops)
            .counter("errors", self.errors)
    }
}

impl NetStats {
    pub(super) fn add(&mut self, other: Self) {
        self.received.add(other.received);
        self.transmitted.add(other.transmitted);
    }
}

/// One direction of one pair, counted by its engine and read by anyone.
#[derive(Debug, Default)]
pub(super) struct FlowCount {
    // Ordering: counts.
    packets: AtomicU64,
    bytes: AtomicU64,
    drops: AtomicU64,
    errors: AtomicU64,
}

impl FlowCount {
    /// Adds what a batch came to.
    pub(super) fn add(&self, flow: NetFlow) {
        for (count, more) in [
            (&self.packets, flow.packets),
            (&self.bytes, flow.bytes),
            (&self.drops, flow.drops),
            (&self.errors, flow.errors),
        ] {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn read(&self) -> NetFlow {
        NetFlow {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            drops: self.drops.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}
