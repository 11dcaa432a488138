//! Where a split queue lies, as its driver says.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamWindow};

use super::RingError;
use crate::spec::split;

/// Where a split queue lies (section 2.7): unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLayout {
    /// The number of entries.
    pub size: u16,
    /// The address of the descriptor table.
    pub descriptors: u64,
    /// The address of the available ring, the driver area.
    pub available: u64,
    /// The address of the used ring, the device area.
    pub used: u64,
}

/// A queue between two chains: all that must be known to go on.
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
    /// The driver's index and the device's, as they lie in RAM now: for people, as either may be
    /// moving. `None` where the queue cannot be there.
    pub fn indices(&self, ram: &GuestRam) -> Option<(u16, u16)> {
        let parts = self.find(ram).ok()?;
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
        let part = |part, address: u64, length, alignment| {
            let error = RingError::Place {
                part,
                address,
                alignment,
            };
            if !address.is_multiple_of(alignment) {
                return Err(error);
            }
            ram.window(GuestAddress(address), length).map_err(|_| error)
        };
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
}
