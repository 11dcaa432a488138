//! A ring of either format.

use vmmkit_guest_memory::GuestRam;

use super::{Chain, PackedRing, QueueState, RingError, SplitRing};
use crate::spec::feature;

/// A ring of the format that the driver took.
#[derive(Debug)]
pub(crate) enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

macro_rules! either {
    ($ring:expr, $inner:ident => $call:expr) => {
        match $ring {
            Self::Split($inner) => $call,
            Self::Packed($inner) => $call,
        }
    };
}

impl Ring {
    pub(crate) fn resume(
        ram: &GuestRam,
        state: QueueState,
        features: u64,
    ) -> Result<Self, RingError> {
        if features & feature::RING_PACKED != 0 {
            return PackedRing::resume(ram, state, features).map(Self::Packed);
        }
        SplitRing::resume(ram, state, features).map(Self::Split)
    }

    #[inline]
    pub(super) fn ram(&self) -> &GuestRam {
        either!(self, ring => ring.ram())
    }

    pub(super) fn state(&self) -> QueueState {
        either!(self, ring => ring.state())
    }

    #[inline]
    pub(super) fn pop(&mut self, chain: &mut Chain) -> Result<bool, RingError> {
        either!(self, ring => ring.pop(chain))
    }

    pub(super) fn unpop(&mut self) {
        either!(self, ring => ring.unpop());
    }

    #[inline]
    pub(super) fn complete(&mut self, chain: &Chain, written: u32) {
        either!(self, ring => ring.complete(chain, written));
    }

    #[inline]
    pub(super) fn complete_head(&mut self, head: u16, written: u32) {
        either!(self, ring => ring.complete_head(head, written));
    }

    #[inline]
    pub(super) fn publish(&mut self) -> bool {
        either!(self, ring => ring.publish())
    }
}
