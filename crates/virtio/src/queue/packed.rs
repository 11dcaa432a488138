//! The packed virtqueue (section 2.8), the device's side of it.

use std::sync::atomic::{Ordering, fence};

use vmmkit_guest_memory::GuestRam;

use super::layout::Parts;
use super::ring::has_passed;
use super::{Chain, QueueLayout, QueueState, RingError};
use crate::spec::{feature, packed, split};

/// A packed virtqueue: one ring, in which the driver makes chains available and the device marks
/// them used.
///
/// It neither waits nor interrupts: [`Queue`](crate::Queue) does, over a ring.
#[derive(Debug)]
pub struct PackedRing {
    parts: Parts,
    ram: GuestRam,
    layout: QueueLayout,
    event_idx: bool,
    indirect: bool,
    /// Where the next chain will be available.
    available: Place,
    /// Where the next chain will be marked used.
    used: Place,
    /// Slots given back since the driver was last shown some.
    unpublished: u16,
    /// The first of them, whose flags show the driver all.
    first: Option<(usize, u16)>,
    /// How many slots the chain of each ID takes.
    slots: Box<[u16]>,
    /// How many the last chains that were popped took, by their number.
    popped: Box<[u16]>,
    pops: usize,
}

/// A place in the ring, and the wrap counter there (2.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    /// As [`QueueState`] has it: at 0, with a wrap counter of 1, all bits are 0.
    fn new(saved: u16, size: u16) -> Self {
        Self {
            slot: (saved & packed::EVENT_OFFSET) % size,
            wrap: saved & packed::EVENT_WRAP == 0,
        }
    }

    fn saved(self) -> u16 {
        self.slot | if self.wrap { 0 } else { packed::EVENT_WRAP }
    }

    /// `count` slots on, which is no more than the ring has.
    #[inline]
    fn after(self, count: u16, size: u16) -> Self {
        // Both are at most 32,768.
        let (slot, wraps) = match u32::from(self.slot) + u32::from(count) {
            slot if slot >= u32::from(size) => (slot - u32::from(size), true),
            slot => (slot, false),
        };
        Self {
            slot: slot as u16,
            wrap: self.wrap ^ wraps,
        }
    }

    fn before(self, count: u16, size: u16) -> Self {
        match self.slot.checked_sub(count) {
            Some(slot) => Self { slot, ..self },
            None => Self {
                slot: self.slot + (size - count),
                wrap: !self.wrap,
            },
        }
    }

    #[inline]
    fn offset(self) -> usize {
        usize::from(self.slot) * split::DESC_SIZE
    }
}

impl PackedRing {
    /// The queue at `layout`, used as the feature bits `features` say.
    ///
    /// # Errors
    /// [`RingError`] where it cannot be there.
    pub fn new(ram: &GuestRam, layout: QueueLayout, features: u64) -> Result<Self, RingError> {
        let state = QueueState {
            layout,
            ..QueueState::default()
        };
        Self::resume(ram, state, features)
    }

    /// A queue that goes on from `state`.
    ///
    /// # Errors
    /// [`RingError`] where it cannot be there.
    pub fn resume(ram: &GuestRam, state: QueueState, features: u64) -> Result<Self, RingError> {
        let size = state.layout.size;
        Ok(Self {
            parts: state.layout.find_packed(ram)?,
            ram: ram.clone(),
            layout: state.layout,
            event_idx: features & feature::EVENT_IDX != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
            available: Place::new(state.next_available, size),
            used: Place::new(state.next_used, size),
            unpublished: 0,
            first: None,
            slots: vec![1; size.into()].into(),
            popped: vec![1; size.into()].into(),
            pops: 0,
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
            next_available: self.available.saved(),
            next_used: self.used.saved(),
        }
    }

    /// Takes the next chain into `chain`; `false` where there is none, and the driver will then kick
    /// for the next one.
    ///
    /// # Errors
    /// [`RingError`] where the driver broke the rules; the ring is then of no use any more.
    #[inline]
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, RingError> {
        if !self.is_available() && !self.look() {
            return Ok(false);
        }
        let size = self.layout.size;
        let ring = self.parts.descriptors.view();
        let slot = self.available.slot;
        let count = chain.follow_packed(&self.ram, ring, size, slot, self.indirect)?;
        let unknown = RingError::Index {
            index: chain.head().into(),
            count: size.into(),
        };
        *self
            .slots
            .get_mut(usize::from(chain.head()))
            .ok_or(unknown)? = count;
        if let Some(last) = self.popped.get_mut(self.pops % usize::from(size)) {
            *last = count;
        }
        self.pops = self.pops.wrapping_add(1);
        self.available = self.available.after(count, size);
        Ok(true)
    }

    /// Puts back the chain that was popped last: the next pop gives it again.
    pub fn unpop(&mut self) {
        let size = self.layout.size;
        self.pops = self.pops.wrapping_sub(1);
        let last = self.popped.get(self.pops % usize::from(size));
        let count = last.copied().unwrap_or(1);
        self.available = self.available.before(count, size);
    }

    /// Gives a chain back to the driver with `written` bytes in its writable buffers. The driver
    /// sees it after [`publish`](Self::publish).
    #[inline]
    pub fn complete(&mut self, chain: &Chain, written: u32) {
        let most = u32::try_from(chain.writable_bytes()).unwrap_or(u32::MAX);
        self.complete_head(chain.head(), written.min(most));
    }

    /// As [`complete`](Self::complete), by the number of the chain, for whoever does not keep the
    /// chain. `written` is not checked.
    #[inline]
    pub fn complete_head(&mut self, head: u16, written: u32) {
        let place = self.used.offset();
        let mut flags = match self.used.wrap {
            true => packed::DESC_F_AVAIL | packed::DESC_F_USED,
            false => 0,
        };
        if written > 0 {
            flags |= split::DESC_F_WRITE;
        }
        let ring = self.parts.descriptors.view();
        // The window has room for every slot. Ordering: `publish` stores the first flags with Release,
        // and the driver takes no later slot before that one.
        let _ = ring.store_u32(place + packed::LENGTH, written, Ordering::Relaxed);
        let _ = ring.store_u16(place + packed::ID, head, Ordering::Relaxed);
        match self.first {
            None => self.first = Some((place, flags)),
            Some(_) => {
                let _ = ring.store_u16(place + packed::FLAGS, flags, Ordering::Release);
            }
        }
        let count = self.slots.get(usize::from(head)).copied().unwrap_or(1);
        self.used = self.used.after(count, self.layout.size);
        self.unpublished = self.unpublished.wrapping_add(count);
    }

    /// Shows the driver all chains that are complete; whether it wants an interrupt for them
    /// (2.8.10).
    #[inline]
    pub fn publish(&mut self) -> bool {
        let Some((place, flags)) = self.first.take() else {
            return false;
        };
        let ring = self.parts.descriptors.view();
        // Ordering: the driver that sees the flags sees the chains' data, and the later slots' flags.
        let _ = ring.store_u16(place + packed::FLAGS, flags, Ordering::Release);
        let count = std::mem::take(&mut self.unpublished);
        // Ordering: the flags must be seen by a driver whose wish, read below, is from before it
        // looked at them.
        fence(Ordering::SeqCst);
        let wish = self.parts.available.view();
        let wish = wish.load_u32(0, Ordering::Relaxed).unwrap_or(0);
        let (place, flags) = (wish as u16, (wish >> 16) as u16);
        match flags & packed::EVENT_FLAGS {
            packed::EVENT_DISABLE => false,
            packed::EVENT_DESC if self.event_idx => {
                let mut event = place & packed::EVENT_OFFSET;
                if (place & packed::EVENT_WRAP != 0) != self.used.wrap {
                    event = event.wrapping_sub(self.layout.size);
                }
                let new = self.used.slot;
                has_passed(event, new, new.wrapping_sub(count))
            }
            _ => true,
        }
    }

    /// Whether the driver has made the next slot available: its bit is the wrap counter, and the
    /// other one is not (2.8.1).
    #[inline]
    fn is_available(&self) -> bool {
        let ring = self.parts.descriptors.view();
        let place = self.available.offset() + packed::FLAGS;
        // Ordering: pairs with the driver's barrier between the rest of a chain and these flags.
        let flags = ring.load_u16(place, Ordering::Acquire).unwrap_or(0);
        let is_marked = |bit| flags & bit != 0;
        is_marked(packed::DESC_F_AVAIL) == self.available.wrap
            && is_marked(packed::DESC_F_USED) != self.available.wrap
    }

    /// Asks for a kick at the next chain, and looks again for one that came before that was seen.
    fn look(&mut self) -> bool {
        if !self.event_idx {
            return false;
        }
        let wrap = if self.available.wrap {
            packed::EVENT_WRAP
        } else {
            0
        };
        let place = u32::from(self.available.slot | wrap);
        let wish = place | u32::from(packed::EVENT_DESC) << 16;
        // Ordering: the fence below orders it.
        let _ = self.parts.used.view().store_u32(0, wish, Ordering::Relaxed);
        // Ordering: the wish must be seen by a driver that stores flags after the load below.
        fence(Ordering::SeqCst);
        self.is_available()
    }
}

#[cfg(test)]
mod tests;
