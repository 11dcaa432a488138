//! Where a queue lies, as its driver says.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamWindow};

use super::RingError;
use crate::spec::{packed, split};

/// Where a queue lies (sections 2.7 and 2.8): unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLayout {
    /// The number of entries.
    pub size: u16,
    /// The address of the descriptor table, or of a packed queue's ring.
    pub descriptors: u64,
    /// The address of the available ring, the driver area; of a packed queue, the driver's wish.
    pub available: u64,
    /// The address of the used ring, the device area; of a packed queue, the device's wish.
    pub used: u64,
}

/// A queue between two chains: all that must be known to go on. Of a packed queue, bit 15 of an index
/// is set while the wrap counter (2.8.1), which begins at 1, is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Where it lies.
    pub layout: QueueLayout,
    /// The next entry of the available ring to look at.
    pub next_available: u16,
    /// The next entry of the used ring to fill.
    pub next_used: u16,
}

/// The three parts, found in RAM.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) descriptors: RamWindow,
    pub(crate) available: RamWindow,
    pub(crate) used: RamWindow,
}

impl QueueLayout {
    /// The driver's index and the device's of a split queue, as they lie in RAM now: for people, as either may be
    /// moving. `None` where the queue cannot be there.
    pub fn indices(&self, ram: &GuestRam) -> Option<(u16, u16)> {
        let parts = self.find(ram).ok()?;
        // Ordering: a look in passing; nothing is read because of it.
        let index = |part: &RamWindow| part.view().load_u16(split::RING_INDEX, Ordering::Relaxed);
        Some((index(&parts.available)?, index(&parts.used)?))
    }

    /// Checks it, and finds the parts.
    pub(crate) fn find(&self, ram: &GuestRam) -> Result<Parts, RingError> {
        let most = split::MAX_SIZE;
        if !self.size.is_power_of_two() || self.size > most {
            return Err(RingError::Size {
                size: self.size,
                most,
            });
        }
        let size = usize::from(self.size);
        let part = |name, address, length, alignment| part(ram, name, address, length, alignment);
        // Both rings have room for an event index behind them (2.7.6, 2.7.8); without the feature
        // it is not touched, but it lies in the same RAM.
        Ok(Parts {
            descriptors: part(
                "descriptor table",
                self.descriptors,
                size * split::DESC_SIZE,
                split::DESC_ALIGN,
            )?,
            available: part(
                "available ring",
                self.available,
                6 + 2 * size,
                split::AVAIL_ALIGN,
            )?,
            used: part("used ring", self.used, 6 + 8 * size, split::USED_ALIGN)?,
        })
    }

    /// Checks it as that of a packed queue, and finds the parts.
    pub(crate) fn find_packed(&self, ram: &GuestRam) -> Result<Parts, RingError> {
        let (size, most) = (self.size, split::MAX_SIZE);
        if !(1..=most).contains(&size) {
            return Err(RingError::PackedSize { size, most });
        }
        let ring = usize::from(size) * split::DESC_SIZE;
        let event =
            |name, address| part(ram, name, address, packed::EVENT_SIZE, packed::EVENT_ALIGN);
        Ok(Parts {
            descriptors: part(
                ram,
                "descriptor ring",
                self.descriptors,
                ring,
                split::DESC_ALIGN,
            )?,
            available: event("driver event suppression structure", self.available)?,
            used: event("device event suppression structure", self.used)?,
        })
    }
}

fn part(
    ram: &GuestRam,
    part: &'static str,
    address: u64,
    length: usize,
    alignment: u64,
) -> Result<RamWindow, RingError> {
    let error = RingError::Place {
        part,
        address,
        alignment,
    };
    if !address.is_multiple_of(alignment) {
        return Err(error);
    }
    ram.window(GuestAddress(address), length).map_err(|_| error)
}
