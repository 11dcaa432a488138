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
    /// What comes and has no room; one byte more than the largest packet tells a larger one.
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
        let wanted = if self.is_mergeable { MAX_PACKET } else { 1 };
        let useless = self.room.fill(queue, wanted as u64);
        flow.errors += useless;
        if self.room.is_empty() {
            // There may be more behind those that were of no use.
            return Ok(useless > 0);
        }
        let (segments, bytes) = if self.is_mergeable {
            (self.room.segments(), self.room.bytes())
        } else {
            self.room.first()
        };
        let length = host
            .backend
            .receive(queue.ram(), segments, &mut self.spare)?;
        if length <= HEADER || length > MAX_PACKET {
            flow.errors += 1;
        } else if length as u64 <= bytes {
            self.give(queue, length, flow);
        } else if self.is_mergeable {
            self.keep(queue, length, bytes);
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

    /// Keeps a packet of `length` whose first `bytes` lie in the room and whose rest in the spare.
    #[cold]
    fn keep(&mut self, queue: &Queue, length: usize, bytes: u64) {
        // Less than `length`, which is at most MAX_PACKET.
        let first = bytes as usize;
        self.kept.resize(first, 0);
        let mut done = 0;
        for segment in self.room.segments() {
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
