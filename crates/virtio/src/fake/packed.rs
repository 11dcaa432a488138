//! The driver's side of a packed queue (section 2.8).

use std::collections::BTreeMap;
use std::sync::atomic::{Ordering, fence};

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};

use super::buffers::Buffers;
use crate::QueueLayout;
use crate::spec::{feature, packed, split};

/// A packed queue with the memory for its buffers.
pub(crate) struct PackedSide {
    ram: GuestRam,
    layout: QueueLayout,
    event_idx: bool,
    /// IDs that no chain has.
    ids: Vec<u16>,
    /// Slots that no chain has.
    free: u16,
    /// Chains under way by their IDs: how many slots they take, and their writable buffers.
    chains: BTreeMap<u16, (u16, Vec<Segment>)>,
    next: Place,
    next_used: Place,
    /// Slots made available since the last look at what the device wants, and the flags that show
    /// them.
    hidden: Vec<(Place, u16)>,
    added: u16,
    buffers: Buffers,
}

#[derive(Clone, Copy)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self {
        slot: 0,
        wrap: true,
    };

    fn step(&mut self, size: u16) {
        self.slot += 1;
        if self.slot == size {
            (self.slot, self.wrap) = (0, !self.wrap);
        }
    }
}

impl PackedSide {
    /// A queue of `size` in the `length` bytes at `base`.
    pub(crate) fn new(ram: &GuestRam, base: u64, length: u64, size: u16, features: u64) -> Self {
        let available = base + 16 * u64::from(size);
        let buffers = (available + 8).next_multiple_of(4096);
        let mut ring = Self {
            ram: ram.clone(),
            layout: QueueLayout {
                size,
                descriptors: base,
                available,
                used: available + 4,
            },
            event_idx: features & feature::EVENT_IDX != 0,
            ids: Vec::new(),
            free: size,
            chains: BTreeMap::new(),
            next: Place::START,
            next_used: Place::START,
            hidden: Vec::new(),
            added: 0,
            buffers: Buffers::new(ram, buffers, base + length),
        };
        ring.clear();
        ring
    }

    /// As new.
    pub(crate) fn clear(&mut self) {
        let rings = (self.buffers.start() - self.layout.descriptors) as usize;
        let _ = self
            .ram
            .fill(GuestAddress(self.layout.descriptors), rings, 0);
        self.ids = (0..self.layout.size).rev().collect();
        self.free = self.layout.size;
        self.chains.clear();
        (self.next, self.next_used) = (Place::START, Place::START);
        self.hidden.clear();
        self.added = 0;
        self.buffers.clear();
    }

    pub(crate) fn layout(&self) -> QueueLayout {
        self.layout
    }

    pub(crate) fn add(&mut self, readable: &[&[u8]], writable: &[usize]) -> Option<u16> {
        let count = u16::try_from(readable.len() + writable.len()).ok()?;
        if count == 0 || count > self.free {
            return None;
        }
        let buffers = self
            .buffers
            .place(self.chains.is_empty(), readable, writable)?;
        let id = self.ids.pop()?;
        for (place, buffer) in buffers.iter().enumerate() {
            let mut flags = match self.next.wrap {
                true => packed::DESC_F_AVAIL,
                false => packed::DESC_F_USED,
            };
            if place >= readable.len() {
                flags |= split::DESC_F_WRITE;
            }
            if place + 1 < buffers.len() {
                flags |= split::DESC_F_NEXT;
            }
            let at = self.slot(self.next.slot);
            let _ = self.ram.write(GuestAddress(at), buffer.address.0);
            let _ = self.ram.write(GuestAddress(at + 8), buffer.length);
            let _ = self.ram.write(GuestAddress(at + 12), id);
            self.hidden.push((self.next, flags));
            self.next.step(self.layout.size);
        }
        self.free -= count;
        let writable = buffers.get(readable.len()..).unwrap_or_default().to_vec();
        self.chains.insert(id, (count, writable));
        Some(id)
    }

    /// Shows the device what is available; whether it wants a kick.
    pub(crate) fn publish(&mut self) -> bool {
        self.added = 0;
        // The last first: the device stops at the first one that it does not see.
        while let Some((place, flags)) = self.hidden.pop() {
            fence(Ordering::SeqCst);
            let at = self.slot(place.slot) + packed::FLAGS as u64;
            let _ = self.ram.write(GuestAddress(at), flags);
            self.added += 1;
        }
        if self.added == 0 {
            return false;
        }
        fence(Ordering::SeqCst);
        let wish: u32 = self.ram.read(GuestAddress(self.layout.used)).unwrap_or(0);
        let (place, flags) = (wish as u16, (wish >> 16) as u16);
        match flags {
            packed::EVENT_DISABLE => false,
            packed::EVENT_DESC => {
                let mut event = place & packed::EVENT_OFFSET;
                if (place & packed::EVENT_WRAP != 0) != self.next.wrap {
                    event = event.wrapping_sub(self.layout.size);
                }
                let new = self.next.slot;
                new.wrapping_sub(event).wrapping_sub(1) < self.added
            }
            _ => true,
        }
    }

    pub(crate) fn used(&mut self) -> Option<(u16, Vec<u8>)> {
        if !self.is_used() {
            if self.event_idx {
                // Wants an interrupt for the next one.
                let wrap = if self.next_used.wrap {
                    packed::EVENT_WRAP
                } else {
                    0
                };
                let place = u32::from(self.next_used.slot | wrap);
                let wish = place | u32::from(packed::EVENT_DESC) << 16;
                let _ = self.ram.write(GuestAddress(self.layout.available), wish);
                fence(Ordering::SeqCst);
            }
            if !self.is_used() {
                return None;
            }
        }
        fence(Ordering::SeqCst);
        let at = self.slot(self.next_used.slot);
        let written: u32 = self.ram.read(GuestAddress(at + 8)).ok()?;
        let id: u16 = self.ram.read(GuestAddress(at + 12)).ok()?;
        let (count, writable) = self.chains.remove(&id)?;
        for _ in 0..count {
            self.next_used.step(self.layout.size);
        }
        self.free += count;
        self.ids.push(id);
        Some((id, self.buffers.contents(&writable, written)))
    }

    fn is_used(&self) -> bool {
        let at = self.slot(self.next_used.slot) + packed::FLAGS as u64;
        let flags: u16 = self.ram.read(GuestAddress(at)).unwrap_or(0);
        let both = packed::DESC_F_AVAIL | packed::DESC_F_USED;
        flags & both == if self.next_used.wrap { both } else { 0 }
    }

    fn slot(&self, slot: u16) -> u64 {
        self.layout.descriptors + 16 * u64::from(slot)
    }
}
