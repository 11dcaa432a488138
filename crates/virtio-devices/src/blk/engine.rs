//! One queue of a disk at work.

use std::io;
use std::sync::Arc;

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};
use vmmkit_host_io::{Interest, Ready};
use vmmkit_virtio::{ActivateError, Activation, Chain, Context, Engine, Queue};

use super::at_once::AtOnce;
use super::disk::is_unsupported;
use super::in_flight::{InFlight, Pending};
use super::request::HEAD;
use super::spec::request;
use super::{Block, BlockBackend, BlockRequest, BlockStatus, Shared, parse_block_request};
use crate::Throttle;

/// Tokens.
const THROTTLE: u64 = 0;
const RING: u64 = 1;

/// Chains that are taken before the thread looks for something else to do: as many as go to the host
/// by one call, or a few that are done one by one and told together.
const BATCH_BY_RING: usize = 256;
const BATCH_BY_CALLS: usize = 16;
/// The driver sees what was done at once after so many requests, or so many bytes.
const SHOWN_REQUESTS: u32 = 16;
const SHOWN_BYTES: u64 = 256 << 10;

/// The engine of one queue.
pub(super) struct BlockEngine {
    // Wiring
    shared: Arc<Shared>,
    throttle: Throttle,
    /// The queue.
    index: u16,
    features: u64,
    /// `None`: each request is done on this thread.
    ring: Option<InFlight>,
    at_once: AtOnce,
    /// Whether what this thread changes may wait for what is under way.
    rewrites: bool,
    /// Requests, and bytes, that were done at once and not shown to the driver.
    unshown: (u32, u64),
    /// Whether the host can make zeroes by itself, as far as is known.
    can_zero: bool,
    // Made once and reused
    chain: Chain,
    data: Vec<Segment>,
}

impl BlockEngine {
    pub(super) fn new(
        block: &Block,
        activation: &Activation,
        index: u16,
    ) -> Result<Self, ActivateError> {
        let host = |what| move |source| ActivateError::Host { what, source };
        let shared = block.shared.clone();
        let ring = match (block.backend, shared.disk.file()) {
            (BlockBackend::Uring, Some(file)) => match InFlight::new(&activation.ram, file) {
                Ok(ring) => Some(ring),
                // The host has no memory or descriptor left for it.
                Err(_) if block.may_fall_back => None,
                Err(error) => return Err(host("setting up io_uring")(error)),
            },
            _ => None,
        };
        Ok(Self {
            throttle: Throttle::new(&shared.limiter).map_err(host("making a timer"))?,
            at_once: AtOnce::new(&*shared.disk),
            rewrites: shared.disk.rewrites(),
            unshown: (0, 0),
            shared,
            index,
            features: activation.features,
            ring,
            can_zero: true,
            chain: Chain::new(),
            data: Vec::new(),
        })
    }

    /// Takes chains and gives back what is done.
    fn turn(&mut self, context: &mut Context) {
        let Some(queue) = context.queues.get_mut(self.index) else {
            return;
        };
        self.reap(queue);
        if self.take_batch(queue) {
            // After this turn comes another one.
            queue.kick().notify();
        }
        self.submit();
        self.reap(queue);
        queue.publish();
    }

    /// Takes chains while it can; whether there may be more that can be taken now. Where the host is
    /// busy or a limit is reached, an event comes.
    fn take_batch(&mut self, queue: &mut Queue) -> bool {
        let most = match self.ring {
            Some(_) => BATCH_BY_RING,
            None => BATCH_BY_CALLS,
        };
        for _ in 0..most {
            let is_full = self.ring.as_ref().is_some_and(InFlight::is_full);
            if is_full || !self.throttle.is_open() || !queue.pop(&mut self.chain) {
                return false;
            }
            self.take(queue);
        }
        true
    }

    /// Begins the request of the chain.
    fn take(&mut self, queue: &mut Queue) {
        let room = self.chain.writable_bytes();
        let Some(status) = last_byte(&self.chain) else {
            // There is no place for a status.
            self.shared.counters.bad_request();
            queue.complete(&self.chain, 0);
            return;
        };
        let mut head = [0; HEAD];
        let length = self.chain.reader(queue.ram()).read(&mut head);
        let parsed = parse_block_request(
            head.get(..length).unwrap_or_default(),
            self.chain.readable_bytes(),
            room,
            &self.shared.limits(self.features),
        );
        let bytes = parsed.as_ref().map_or(0, BlockRequest::data);
        self.throttle.charge(1, bytes);
        let request = match parsed {
            Ok(request) => request,
            Err(answer) => {
                self.shared.counters.bad_request();
                give_status(queue.ram(), status, answer);
                queue.complete(&self.chain, u32::MAX);
                return;
            }
        };
        let pending = Pending {
            request,
            status,
            head: self.chain.head(),
            written: u32::try_from(room).unwrap_or(u32::MAX),
        };
        if let Some(result) = self.begin(queue, pending) {
            self.finish(queue, pending, result);
            self.unshown.0 += 1;
            self.unshown.1 += bytes;
            if self.unshown.0 >= SHOWN_REQUESTS || self.unshown.1 >= SHOWN_BYTES {
                self.unshown = (0, 0);
                queue.publish();
            }
        }
    }

    /// Begins a request; its result where it is done already.
    #[inline]
    fn begin(&mut self, queue: &mut Queue, pending: Pending) -> Option<io::Result<()>> {
        let request = &pending.request;
        self.gather(queue.ram(), request);
        let durable = self.shared.is_writethrough(self.features);
        if self.goes_by_ring(request, durable) {
            let disk = &*self.shared.disk;
            // A durable write waits for the disk.
            let may_wait = durable && matches!(request, BlockRequest::Write { .. });
            let done =
                (!may_wait).then(|| self.at_once.run(disk, queue.ram(), request, &self.data));
            if let Some(result) = done.flatten() {
                return Some(result);
            }
            let change = self.change(request);
            if change.is_none_or(|(offset, length)| disk.begin_change(offset, length)) {
                return self.begin_by_ring(pending, durable);
            }
        }
        self.settle(queue, request);
        Some(self.run(queue.ram(), request, durable))
    }

    /// Takes down where the data of the chain's request is.
    #[inline]
    fn gather(&mut self, ram: &GuestRam, request: &BlockRequest) {
        match *request {
            BlockRequest::Read { length, .. } => {
                let writer = self.chain.writer(ram);
                writer.rest(length, &mut self.data);
            }
            BlockRequest::Write { length, .. } => {
                let mut reader = self.chain.reader(ram);
                reader.skip(request::HEADER as u64);
                reader.rest(length, &mut self.data);
            }
            _ => self.data.clear(),
        }
    }

    /// Begins a request, whose change has begun, by io_uring.
    #[inline]
    fn begin_by_ring(&mut self, pending: Pending, durable: bool) -> Option<io::Result<()>> {
        let begun = match &mut self.ring {
            Some(ring) => ring.begin(pending, &self.data, durable),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let error = begun.err()?;
        self.end_change(&pending.request);
        Some(Err(error))
    }

    /// The range that a request changes, where others have to know of it.
    #[inline]
    fn change(&self, request: &BlockRequest) -> Option<(u64, u64)> {
        self.rewrites.then(|| request.change()).flatten()
    }

    #[inline]
    fn end_change(&self, request: &BlockRequest) {
        if let Some((offset, length)) = self.change(request) {
            self.shared.disk.end_change(offset, length);
        }
    }

    /// Before a change that may wait for others to end: none is under way here.
    fn settle(&mut self, queue: &mut Queue, request: &BlockRequest) {
        if self.change(request).is_some() {
            self.drain(queue);
        }
    }

    /// Whether io_uring can do a request.
    #[inline]
    fn goes_by_ring(&self, request: &BlockRequest, durable: bool) -> bool {
        let disk = &self.shared.disk;
        let has_ring = self.ring.as_ref().is_some_and(InFlight::is_usable);
        has_ring
            && match *request {
                BlockRequest::Read { offset, length } | BlockRequest::Write { offset, length } => {
                    length > 0 && disk.takes(&self.data, offset)
                }
                BlockRequest::Flush => true,
                BlockRequest::Discard { offset, length } => {
                    length > 0 && disk.takes_range(offset, length)
                }
                // There is no such operation that is durable at once, and what the host cannot do
                // is made up for when others are under way.
                BlockRequest::WriteZeroes { offset, length, .. } => {
                    let is_possible = self.can_zero && !durable && !self.rewrites;
                    length > 0 && is_possible && disk.takes_range(offset, length)
                }
                BlockRequest::Identify => false,
            }
    }

    /// Does a request on this thread.
    fn run(&self, ram: &GuestRam, request: &BlockRequest, durable: bool) -> io::Result<()> {
        let disk = &self.shared.disk;
        match *request {
            BlockRequest::Read { length: 0, .. }
            | BlockRequest::Write { length: 0, .. }
            | BlockRequest::Discard { length: 0, .. }
            | BlockRequest::WriteZeroes { length: 0, .. } => return Ok(()),
            BlockRequest::Read { offset, .. } => return disk.read(ram, &self.data, offset),
            BlockRequest::Write { offset, .. } => disk.write(ram, &self.data, offset)?,
            BlockRequest::Flush => return disk.flush(),
            BlockRequest::Discard { offset, length } => return disk.discard(offset, length),
            BlockRequest::WriteZeroes {
                offset,
                length,
                unmap,
            } => disk.write_zeroes(offset, length, unmap)?,
            BlockRequest::Identify => {
                let mut writer = self.chain.writer(ram);
                // All but the status, which follows.
                let room = usize::try_from(writer.left() - 1).unwrap_or(usize::MAX);
                let serial = &self.shared.serial;
                let room = room.min(serial.len());
                writer.write(serial.get(..room).unwrap_or_default());
                return Ok(());
            }
        }
        if durable { disk.flush() } else { Ok(()) }
    }

    fn finish(&self, queue: &mut Queue, pending: Pending, result: io::Result<()>) {
        let status = self.shared.account(&pending.request, &result);
        give_status(queue.ram(), pending.status, status);
        queue.complete_head(pending.head, pending.written);
    }

    fn submit(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        ring.submit();
    }

    /// Waits for everything that is under way, and gives it back.
    fn drain(&mut self, queue: &mut Queue) {
        while let Some(ring) = self.ring.as_mut().filter(|ring| !ring.is_empty()) {
            ring.wait();
            self.reap(queue);
        }
    }

    /// Gives back what the host has done.
    #[inline]
    fn reap(&mut self, queue: &mut Queue) {
        loop {
            while let Some((pending, result)) = self.ring.as_mut().and_then(InFlight::done) {
                self.end_change(&pending.request);
                let result = self.make_up(&pending.request, result);
                self.finish(queue, pending, result);
            }
            // What was done in part goes on.
            self.submit();
            if !self.ring.as_ref().is_some_and(InFlight::has_failed) {
                return;
            }
        }
    }

    /// Does without the file system where it cannot do it.
    fn make_up(&mut self, request: &BlockRequest, result: io::Result<()>) -> io::Result<()> {
        match (*request, result) {
            (BlockRequest::Discard { .. }, Err(error)) if is_unsupported(&error) => Ok(()),
            (
                BlockRequest::WriteZeroes {
                    offset,
                    length,
                    unmap,
                },
                Err(error),
            ) if is_unsupported(&error) => {
                self.can_zero = false;
                self.shared.disk.write_zeroes(offset, length, unmap)
            }
            (_, result) => result,
        }
    }
}

impl Engine for BlockEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let poller = &context.poller;
        poller.add(&self.throttle, THROTTLE, Interest::Readable)?;
        if let Some(ring) = &self.ring {
            poller.add(&**ring.event(), RING, Interest::EachArrival)?;
        }
        Ok(())
    }

    fn kicked(&mut self, context: &mut Context, _index: u16) {
        self.turn(context);
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        if ready.token == THROTTLE {
            self.throttle.drain();
        }
        self.turn(context);
    }

    fn quiesce(&mut self, context: &mut Context) {
        let Some(queue) = context.queues.get_mut(self.index) else {
            return;
        };
        self.drain(queue);
        queue.publish();
        self.shared.write_back();
    }
}

fn give_status(ram: &GuestRam, at: GuestAddress, status: BlockStatus) {
    // The byte is of a chain, and so in RAM.
    let _ = ram.write_bytes(at, &[status as u8]);
}

/// Where the last byte of a chain's room is.
#[inline]
fn last_byte(chain: &Chain) -> Option<GuestAddress> {
    let last = chain.writable().last()?;
    Some(GuestAddress(last.address.0 + u64::from(last.length) - 1))
}
