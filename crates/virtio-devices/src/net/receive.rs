//! From the host to the guest (section 5.1.6.3).

use std::io;

use vmmkit_virtio::Queue;

use super::backend::{Scatter, write_at};
use super::gathered::Gathered;
use super::line::{Host, frame_bytes};
use super::spec::{HEADER, HEADER_FLAGS, HEADER_NUM_BUFFERS, MAX_PACKET, feature};
use super::stats::NetFlow;
use super::{BATCH, Halt};
use crate::Throttle;

/// Receives packets straight into the guest's buffers. One that does not fit into what the guest
/// has made available is kept until there is room.
pub(super) struct Receiver {
    // Fixed at creation
    is_mergeable: bool,
    keeps_flags: bool,
    throttle: Throttle,
    // Working state
    room: Gathered,
    window: Window,
    /// Room for packets that have none; one byte more than the largest packet tells a larger one.
    spare: Box<[u8]>,
    /// A packet that waits for room; empty if there is none.
    kept: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(features: u64, throttle: Throttle) -> Self {
        Self {
            is_mergeable: features & feature::MRG_RXBUF != 0,
            keeps_flags: features & feature::GUEST_CSUM != 0,
            throttle,
            room: Gathered::default(),
            window: Window::default(),
            spare: vec![0; MAX_PACKET + 1].into(),
            kept: Vec::new(),
        }
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Receives a batch, adds to `flow`, and says what to wait for.
    pub(super) fn run(
        &mut self,
        queue: &mut Queue,
        host: &mut Host,
        is_up: bool,
        flow: &mut NetFlow,
    ) -> Halt {
        for _ in 0..BATCH {
            if !host.is_attached {
                return Halt::Detached;
            }
            if !self.throttle.is_open() {
                return Halt::Throttled;
            }
            let next = if is_up {
                self.next(queue, host, flow)
            } else {
                self.discard(queue, host, flow)
            };
            match next {
                Ok(true) => {}
                Ok(false) => return Halt::NoRoom,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Halt::Host,
                Err(error) => return Halt::Lost(error),
            }
        }
        Halt::Batch
    }

    /// Receives a packet; `false` where the guest has no room.
    #[inline]
    fn next(&mut self, queue: &mut Queue, host: &mut Host, flow: &mut NetFlow) -> io::Result<bool> {
        if !self.kept.is_empty() {
            return Ok(self.deliver_kept(queue, flow));
        }
        // Without merging one chain is all that there is for a packet.
        let wanted = if self.is_mergeable {
            self.window.bytes
        } else {
            1
        };
        let useless = self.room.fill(queue, wanted);
        flow.errors += useless;
        if self.room.is_empty() {
            // There may be more behind those that were of no use.
            return Ok(useless > 0);
        }
        let (segments, bytes) = self.room.front(wanted);
        let count = segments.len();
        let length = host
            .backend
            .receive(queue.ram(), segments, &mut self.spare)?;
        self.window.saw(length as u64, bytes);
        if length <= HEADER || length > MAX_PACKET {
            flow.errors += 1;
        } else if length as u64 <= bytes {
            self.give(queue, length, flow);
        } else if self.is_mergeable {
            self.spill(queue, length, (count, bytes), flow);
        } else {
            flow.drops += 1;
        }
        Ok(true)
    }

    /// Gives the guest the packet that lies in the room.
    #[inline]
    fn give(&mut self, queue: &mut Queue, length: usize, flow: &mut NetFlow) {
        // 1 without merging (5.1.6.3.1): the packet fits into the first chain.
        let buffers = self.room.span(length as u64);
        let segments = self.room.segments();
        let buffers = buffers.to_le_bytes();
        write_at(queue.ram(), segments, HEADER_NUM_BUFFERS, &buffers);
        if !self.keeps_flags {
            // A driver without the feature must see no flags (5.1.6.3.1).
            write_at(queue.ram(), segments, HEADER_FLAGS, &[0]);
        }
        self.room.complete(queue, length as u64);
        flow.packets += 1;
        flow.bytes += frame_bytes(length);
        self.throttle.charge(1, frame_bytes(length));
    }

    /// Gives the guest a packet of `length`, or keeps it, whose first bytes lie in the first segments
    /// of the room, so many of both, and whose rest lies in the spare.
    #[cold]
    fn spill(
        &mut self,
        queue: &mut Queue,
        length: usize,
        (count, bytes): (usize, u64),
        flow: &mut NetFlow,
    ) {
        flow.errors += self.room.fill(queue, length as u64);
        if self.room.bytes() < length as u64 {
            return self.keep(queue, length, (count, bytes));
        }
        let segments = self.room.segments().get(count..).unwrap_or_default();
        // Less than `length`, which is at most MAX_PACKET.
        let rest = self.spare.get(..length.saturating_sub(bytes as usize));
        Scatter::new(queue.ram(), segments, &mut []).put(rest.unwrap_or_default());
        self.give(queue, length, flow);
    }

    /// Keeps such a packet.
    #[cold]
    fn keep(&mut self, queue: &Queue, length: usize, (count, bytes): (usize, u64)) {
        // Less than `length`, which is at most MAX_PACKET.
        let first = bytes as usize;
        self.kept.resize(first, 0);
        let mut done = 0;
        for segment in self.room.segments().iter().take(count) {
            let end = done + segment.length as usize;
            if let Some(place) = self.kept.get_mut(done..end) {
                let _ = queue.ram().read_bytes(segment.address, place);
            }
            done = end;
        }
        let rest = self.spare.get(..length.saturating_sub(first));
        self.kept.extend_from_slice(rest.unwrap_or_default());
    }

    /// Gives the guest the packet that is kept; `false` where it must wait.
    #[cold]
    fn deliver_kept(&mut self, queue: &mut Queue, flow: &mut NetFlow) -> bool {
        let length = self.kept.len();
        let useless = self.room.fill(queue, length as u64);
        flow.errors += useless;
        if self.room.bytes() < length as u64 {
            if useless > 0 {
                return true;
            }
            if !self.room.is_full(queue) {
                return false;
            }
            // There will never be more room than this.
            flow.drops += 1;
        } else {
            let segments = self.room.segments();
            Scatter::new(queue.ram(), segments, &mut []).put(&self.kept);
            self.give(queue, length, flow);
        }
        self.kept.clear();
        true
    }

    /// Receives a packet for nobody.
    fn discard(&mut self, queue: &Queue, host: &mut Host, flow: &mut NetFlow) -> io::Result<bool> {
        flow.drops += u64::from(!self.kept.is_empty());
        self.kept.clear();
        host.backend.receive(queue.ram(), &[], &mut self.spare)?;
        flow.drops += 1;
        Ok(true)
    }

    /// Lets go of the queue. A packet that is kept stays.
    pub(super) fn put_back(&mut self, queue: &mut Queue) {
        self.room.put_back(queue);
    }
}

/// How much room a packet is received into: what those before it needed. The host looks at each piece
/// of it, even where the packet is small.
#[derive(Debug)]
struct Window {
    bytes: u64,
    /// The largest packet since it was last set, and how many there were.
    largest: u64,
    count: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            bytes: MAX_PACKET as u64,
            largest: 0,
            count: 0,
        }
    }
}

impl Window {
    /// A packet of `length` came into `bytes` of room.
    #[inline]
    fn saw(&mut self, length: u64, bytes: u64) {
        self.largest = self.largest.max(length);
        self.count += 1;
        if length > bytes {
            *self = Self::default();
        } else if self.count >= BATCH {
            *self = Self {
                bytes: self.largest,
                largest: 0,
                count: 0,
            };
        }
    }
}

#[cfg(test)]
mod window_tests {
    use super::*;

    #[test]
    fn the_window_follows_the_packets_down_and_opens_at_once() {
        let mut window = Window::default();
        for _ in 1..BATCH {
            window.saw(1526, 65562);
            assert_eq!(window.bytes, MAX_PACKET as u64);
        }
        window.saw(100, 65562);
        assert_eq!(window.bytes, 1526);
        (0..BATCH).for_each(|_| window.saw(100, 1536));
        assert_eq!(window.bytes, 100);
        window.saw(40_000, 1536);
        assert_eq!(window.bytes, MAX_PACKET as u64);
    }
}
