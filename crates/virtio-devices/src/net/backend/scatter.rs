//! From the host's memory to a guest's buffers.

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};

/// Writes to segments, from front to back, and then to a spare.
pub(in crate::net) struct Scatter<'a> {
    ram: &'a GuestRam,
    segments: &'a [Segment],
    /// Bytes of the first segment that are behind.
    done: u32,
    spare: &'a mut [u8],
    total: usize,
}

impl<'a> Scatter<'a> {
    pub(in crate::net) fn new(
        ram: &'a GuestRam,
        segments: &'a [Segment],
        spare: &'a mut [u8],
    ) -> Self {
        Self {
            ram,
            segments,
            done: 0,
            spare,
            total: 0,
        }
    }

    /// Bytes that were to be written so far; those without room are gone.
    pub(in crate::net) fn total(&self) -> usize {
        self.total
    }

    pub(in crate::net) fn put(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len();
        while let Some(first) = self.segments.first().filter(|_| !bytes.is_empty()) {
            let room = first.length.saturating_sub(self.done);
            let length = bytes.len().min(room as usize);
            let (part, rest) = bytes.split_at_checked(length).unwrap_or_default();
            // A chain lies in RAM: this cannot fail.
            let address = first.address.0 + u64::from(self.done);
            let _ = self.ram.write_bytes(GuestAddress(address), part);
            bytes = rest;
            self.done += part.len() as u32;
            if self.done >= first.length {
                self.segments = self.segments.get(1..).unwrap_or_default();
                self.done = 0;
            }
        }
        let spare = std::mem::take(&mut self.spare);
        let length = bytes.len().min(spare.len());
        if let (Some((place, rest)), Some(part)) =
            (spare.split_at_mut_checked(length), bytes.get(..length))
        {
            place.copy_from_slice(part);
            self.spare = rest;
        }
    }
}

/// Writes `bytes` at `offset` of the segments, as far as they reach.
pub(in crate::net) fn write_at(
    ram: &GuestRam,
    segments: &[Segment],
    mut offset: usize,
    bytes: &[u8],
) {
    let mut bytes = bytes;
    for segment in segments {
        let length = segment.length as usize;
        if offset >= length {
            offset -= length;
            continue;
        }
        let part = bytes.len().min(length - offset);
        let (now, rest) = bytes.split_at_checked(part).unwrap_or_default();
        let _ = ram.write_bytes(GuestAddress(segment.address.0 + offset as u64), now);
        bytes = rest;
        offset = 0;
        if bytes.is_empty() {
            return;
        }
    }
}
