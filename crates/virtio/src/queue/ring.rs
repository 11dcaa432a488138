//! The split virtqueue (section 2.7), the device's side of it.

use std::sync::atomic::{Ordering, fence};

use vmmkit_guest_memory::GuestRam;

use super::layout::Parts;
use super::{Chain, QueueLayout, QueueState, RingError};
use crate::spec::{feature, split};

/// Offsets in both rings: flags, index, entries (2.7.6, 2.7.8).
const INDEX: usize = 2;
const ENTRIES: usize = 4;

/// A split virtqueue: pops chains that the driver made available, and gives them back used.
///
/// It neither waits nor interrupts: [`Queue`](crate::Queue) does, over a ring.
#[derive(Debug)]
pub struct SplitRing {
    parts: Parts,
    ram: GuestRam,
    layout: QueueLayout,
    event_idx: bool,
    indirect: bool,
    next_available: u16,
    /// The driver's index as it was last read: up to here nothing need be read again.
    seen_available: u16,
    next_used: u16,
    /// The index that the driver was last shown.
    published_used: u16,
}

impl SplitRing {
    /// The queue at `layout`, used as the feature bits `features` say.
    ///
    /// # Errors
    /// [`RingError`] where it cannot be there.
    pub fn new(ram: &GuestRam, layout: QueueLayout, features: u64) -> Result<Self, RingError> {
        Self::resume(
            ram,
            QueueState {
                layout,
                ..QueueState::default()
            },
            features,
        )
    }

    /// A queue that goes on from `state`.
    ///
    /// # Errors
    /// [`RingError`] where it cannot be there.
    pub fn resume(ram: &GuestRam, state: QueueState, features: u64) -> Result<Self, RingError> {
        Ok(Self {
            parts: state.layout.find(ram)?,
            ram: ram.clone(),
            layout: state.layout,
            event_idx: features & feature::EVENT_IDX != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
            next_available: state.next_available,
            seen_available: state.next_available,
            next_used: state.next_used,
            published_used: state.next_used,
        })
    }

    /// The guest's RAM.
    #[inline]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Where it lies and how far it is. Chains that were popped and not completed are lost in it.
    pub fn state(&self) -> QueueState {
        QueueState {
            layout: self.layout,
            next_available: self.next_available,
            next_used: self.next_used,
        }
    }

    /// Takes the next chain into `chain`; `false` where there is none, and the driver will then kick
    /// for the next one.
    ///
    /// # Errors
    /// [`RingError`] where the driver broke the rules; the ring is then of no use any more.
    #[inline]
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, RingError> {
        if self.next_available == self.seen_available && !self.look()? {
            return Ok(false);
        }
        let available = self.parts.available.view();
        let entry = ENTRIES + 2 * self.slot(self.next_available);
        // Ordering: the index was read with Acquire (`look`), and the entry is older.
        let head = available
            .load_u16(entry, Ordering::Relaxed)
            .unwrap_or(u16::MAX);
        chain.follow(
            &self.ram,
            self.parts.descriptors.view(),
            self.layout.size,
            head,
            self.indirect,
        )?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(true)
    }

    /// Puts back the chain that was popped last: the next pop gives it again.
    pub fn unpop(&mut self) {
        self.next_available = self.next_available.wrapping_sub(1);
    }

    /// Gives a chain back to the driver with `written` bytes in its writable buffers. The driver
    /// sees it after [`publish`](Self::publish).
    #[inline]
    pub fn complete(&mut self, chain: &Chain, written: u32) {
        let most = u32::try_from(chain.writable_bytes()).unwrap_or(u32::MAX);
        self.complete_head(chain.head(), written.min(most));
    }

    /// As [`complete`](Self::complete), by the number of the chain's head, for whoever does not keep
    /// the chain. `written` is not checked.
    #[inline]
    pub fn complete_head(&mut self, head: u16, written: u32) {
        let entry = ENTRIES + 8 * self.slot(self.next_used);
        let used = self.parts.used.view();
        // The window has room for every slot. Ordering: `publish` stores the index with Release.
        let _ = used.store_u32(entry, head.into(), Ordering::Relaxed);
        let _ = used.store_u32(entry + 4, written, Ordering::Relaxed);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Shows the driver all chains that are complete; whether it wants an interrupt for them
    /// (2.7.7, 2.7.10).
    #[inline]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published_used, self.next_used);
        if old == new {
            return false;
        }
        // Ordering: a driver that sees the index sees the entries, and what the device wrote before.
        let _ = self
            .parts
            .used
            .view()
            .store_u16(INDEX, new, Ordering::Release);
        self.published_used = new;
        // Ordering: the index must be seen by a driver whose wish, read below, is from before it
        // looked at the index.
        fence(Ordering::SeqCst);
        let available = self.parts.available.view();
        if self.event_idx {
            let place = ENTRIES + 2 * usize::from(self.layout.size);
            let event = available.load_u16(place, Ordering::Relaxed).unwrap_or(0);
            return has_passed(event, new, old);
        }
        let flags = available.load_u16(0, Ordering::Relaxed).unwrap_or(0);
        flags & split::AVAIL_F_NO_INTERRUPT == 0
    }

    /// Reads the driver's index; whether there is a chain.
    #[inline]
    fn look(&mut self) -> Result<bool, RingError> {
        if self.read_index()? {
            return Ok(true);
        }
        if !self.event_idx {
            return Ok(false);
        }
        // Asks for a kick at the next chain, and looks again for one that came before that was seen.
        let place = ENTRIES + 8 * usize::from(self.layout.size);
        let _ = self
            .parts
            .used
            .view()
            .store_u16(place, self.next_available, Ordering::Relaxed);
        // Ordering: the wish must be seen by a driver that stores its index after the load below.
        fence(Ordering::SeqCst);
        self.read_index()
    }

    #[inline]
    fn read_index(&mut self) -> Result<bool, RingError> {
        // Ordering: pairs with the driver's barrier between entries and index.
        let index = self
            .parts
            .available
            .view()
            .load_u16(INDEX, Ordering::Acquire)
            .unwrap_or(0);
        let found = index.wrapping_sub(self.next_available);
        if found > self.layout.size {
            return Err(RingError::Available {
                found,
                size: self.layout.size,
            });
        }
        self.seen_available = index;
        Ok(found > 0)
    }

    #[inline]
    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.layout.size - 1))
    }
}

/// Whether an index that went from `old` to `new` passed `event` (2.7.7.1: vring_need_event).
#[inline]
pub(super) fn has_passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
