//! The driver's side of a queue, of either format.

use vmmkit_guest_memory::GuestRam;

use super::packed::PackedSide;
use super::split::SplitSide;
use crate::QueueLayout;
use crate::spec::feature;

/// A queue with the memory for its buffers.
pub(super) enum Ring {
    Split(SplitSide),
    Packed(PackedSide),
}

impl Ring {
    /// A queue of `size` in the `length` bytes at `base`.
    pub(super) fn new(ram: &GuestRam, base: u64, length: u64, size: u16, features: u64) -> Self {
        if features & feature::RING_PACKED != 0 {
            return Self::Packed(PackedSide::new(ram, base, length, size, features));
        }
        Self::Split(SplitSide::new(ram, base, length, size, features))
    }

    /// As new.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Split(ring) => ring.clear(),
            Self::Packed(ring) => ring.clear(),
        }
    }

    pub(super) fn layout(&self) -> QueueLayout {
        match self {
            Self::Split(ring) => ring.layout(),
            Self::Packed(ring) => ring.layout(),
        }
    }

    pub(super) fn add(&mut self, readable: &[&[u8]], writable: &[usize]) -> Option<u16> {
        match self {
            Self::Split(ring) => ring.add(readable, writable),
            Self::Packed(ring) => ring.add(readable, writable),
        }
    }

    /// Shows the device what is available; whether it wants a kick.
    pub(super) fn publish(&mut self) -> bool {
        match self {
            Self::Split(ring) => ring.publish(),
            Self::Packed(ring) => ring.publish(),
        }
    }

    pub(super) fn used(&mut self) -> Option<(u16, Vec<u8>)> {
        match self {
            Self::Split(ring) => ring.used(),
            Self::Packed(ring) => ring.used(),
        }
    }
}
