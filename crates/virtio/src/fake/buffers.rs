//! The memory of a driver's buffers.

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};

/// Where the buffers of a queue lie: one after the other, and from the start again when no chain is
/// under way.
pub(super) struct Buffers {
    ram: GuestRam,
    start: u64,
    end: u64,
    next: u64,
}

impl Buffers {
    pub(super) fn new(ram: &GuestRam, start: u64, end: u64) -> Self {
        Self {
            ram: ram.clone(),
            start,
            end,
            next: start,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn clear(&mut self) {
        self.next = self.start;
    }

    /// Places buffers with these contents to read, and empty ones of these sizes to write.
    pub(super) fn place(
        &mut self,
        is_first: bool,
        readable: &[&[u8]],
        writable: &[usize],
    ) -> Option<Vec<Segment>> {
        if is_first {
            self.clear();
        }
        let mut next = self.next;
        let mut buffers = Vec::new();
        let sizes = readable.iter().map(|bytes| bytes.len());
        for size in sizes.chain(writable.iter().copied()) {
            buffers.push(Segment {
                address: GuestAddress(next),
                length: u32::try_from(size).ok()?,
            });
            // Odd places, as a driver may have.
            next += size as u64 + 1;
        }
        if next > self.end {
            return None;
        }
        self.next = next;
        for (place, buffer) in buffers.iter().enumerate() {
            let _ = match readable.get(place) {
                Some(bytes) => self.ram.write_bytes(buffer.address, bytes),
                None => self.ram.fill(buffer.address, buffer.length as usize, 0),
            };
        }
        Some(buffers)
    }

    /// The first `written` bytes of buffers.
    pub(super) fn contents(&self, buffers: &[Segment], written: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut left = written as usize;
        for buffer in buffers {
            let mut part = vec![0; left.min(buffer.length as usize)];
            let _ = self.ram.read_bytes(buffer.address, &mut part);
            left -= part.len();
            bytes.extend(part);
        }
        bytes
    }
}
