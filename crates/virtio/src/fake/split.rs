//! The driver's side of a split queue (section 2.7).

use std::collections::BTreeMap;
use std::sync::atomic::{Ordering, fence};

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};

use super::buffers::Buffers;
use crate::QueueLayout;
use crate::spec::{feature, split};

/// A split queue with the memory for its buffers.
pub(super) struct SplitSide {
    ram: GuestRam,
    layout: QueueLayout,
    event_idx: bool,
    free: Vec<u16>,
    /// Chains under way by their heads: their descriptors, and their writable buffers.
    chains: BTreeMap<u16, (Vec<u16>, Vec<Segment>)>,
    next_available: u16,
    published: u16,
    next_used: u16,
    buffers: Buffers,
}

impl SplitSide {
    /// A queue of `size` in the `length` bytes at `base`.
    pub(super) fn new(ram: &GuestRam, base: u64, length: u64, size: u16, features: u64) -> Self {
        let count = u64::from(size);
        let descriptors = base;
        let available = descriptors + 16 * count;
        let used = (available + 6 + 2 * count).next_multiple_of(4);
        let buffers = (used + 6 + 8 * count).next_multiple_of(4096);
        let mut ring = Self {
            ram: ram.clone(),
            layout: QueueLayout {
                size,
                descriptors,
                available,
                used,
            },
            event_idx: features & feature::EVENT_IDX != 0,
            free: Vec::new(),
            chains: BTreeMap::new(),
            next_available: 0,
            published: 0,
            next_used: 0,
            buffers: Buffers::new(ram, buffers, base + length),
        };
        ring.clear();
        ring
    }

    /// As new.
    pub(super) fn clear(&mut self) {
        let rings = (self.buffers.start() - self.layout.descriptors) as usize;
        let _ = self
            .ram
            .fill(GuestAddress(self.layout.descriptors), rings, 0);
        self.free = (0..self.layout.size).rev().collect();
        self.chains.clear();
        (self.next_available, self.published, self.next_used) = (0, 0, 0);
        self.buffers.clear();
    }

    pub(super) fn layout(&self) -> QueueLayout {
        self.layout
    }

    pub(super) fn add(&mut self, readable: &[&[u8]], writable: &[usize]) -> Option<u16> {
        let count = readable.len() + writable.len();
        if count == 0 || count > self.free.len() {
            return None;
        }
        let buffers = self
            .buffers
            .place(self.chains.is_empty(), readable, writable)?;
        let first_free = self.free.len() - count;
        let indices: Vec<u16> = self.free.split_off(first_free);
        for (place, (index, buffer)) in indices.iter().zip(&buffers).enumerate() {
            let mut flags = 0;
            if place >= readable.len() {
                flags |= split::DESC_F_WRITE;
            }
            let next = indices.get(place + 1).copied();
            if next.is_some() {
                flags |= split::DESC_F_NEXT;
            }
            self.describe(*index, *buffer, flags, next.unwrap_or(0));
        }
        let head = *indices.first()?;
        let entry = self.layout.available + 4 + 2 * u64::from(self.slot(self.next_available));
        let _ = self.ram.write(GuestAddress(entry), head);
        self.next_available = self.next_available.wrapping_add(1);
        let writable = buffers.get(readable.len()..).unwrap_or_default().to_vec();
        self.chains.insert(head, (indices, writable));
        Some(head)
    }

    fn describe(&self, index: u16, buffer: Segment, flags: u16, next: u16) {
        let at = |offset| GuestAddress(self.layout.descriptors + 16 * u64::from(index) + offset);
        let _ = self.ram.write(at(0), buffer.address.0);
        let _ = self.ram.write(at(8), buffer.length);
        let _ = self.ram.write(at(12), flags);
        let _ = self.ram.write(at(14), next);
    }

    /// Shows the device what is available; whether it wants a kick.
    pub(super) fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_available);
        if old == new {
            return false;
        }
        fence(Ordering::SeqCst);
        let _ = self.ram.write(GuestAddress(self.layout.available + 2), new);
        self.published = new;
        fence(Ordering::SeqCst);
        if !self.event_idx {
            return true;
        }
        let place = self.layout.used + 4 + 8 * u64::from(self.layout.size);
        let event: u16 = self.ram.read(GuestAddress(place)).unwrap_or(0);
        new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
    }

    pub(super) fn used(&mut self) -> Option<(u16, Vec<u8>)> {
        let index: u16 = self.ram.read(GuestAddress(self.layout.used + 2)).ok()?;
        if index == self.next_used {
            if self.event_idx {
                // Wants an interrupt for the next one.
                let place = self.layout.available + 4 + 2 * u64::from(self.layout.size);
                let _ = self.ram.write(GuestAddress(place), self.next_used);
                fence(Ordering::SeqCst);
            }
            let again: u16 = self.ram.read(GuestAddress(self.layout.used + 2)).ok()?;
            if again == self.next_used {
                return None;
            }
        }
        fence(Ordering::SeqCst);
        let entry = self.layout.used + 4 + 8 * u64::from(self.slot(self.next_used));
        let head: u32 = self.ram.read(GuestAddress(entry)).ok()?;
        let written: u32 = self.ram.read(GuestAddress(entry + 4)).ok()?;
        self.next_used = self.next_used.wrapping_add(1);
        let head = u16::try_from(head).ok()?;
        let (indices, writable) = self.chains.remove(&head)?;
        self.free.extend(indices);
        Some((head, self.buffers.contents(&writable, written)))
    }

    fn slot(&self, index: u16) -> u16 {
        index & (self.layout.size - 1)
    }
}
