//! The requests that the host works on by io_uring.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};
use vmmkit_host_io::{EventFd, Uring};

use super::{BlockRequest, QUEUE_SIZE};

/// A request, and where its answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) request: BlockRequest,
    /// Where the status goes.
    pub(super) status: GuestAddress,
    /// The chain's head, by which it is completed.
    pub(super) head: u16,
    /// The length to complete it with.
    pub(super) written: u32,
}

/// As many requests as a queue has entries, each one operation of a ring.
pub(super) struct InFlight {
    ring: Uring,
    /// By the number of the operation.
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
}

impl InFlight {
    pub(super) fn new(ram: &GuestRam, file: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            ring: Uring::new(ram.shared_memory(), file, QUEUE_SIZE)?,
            pending: vec![None; QUEUE_SIZE.into()],
            free: (0..QUEUE_SIZE.into()).rev().collect(),
        })
    }

    /// Raised when something is done.
    pub(super) fn event(&self) -> &Arc<EventFd> {
        self.ring.event()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.ring.is_full() || self.free.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.in_flight() == 0
    }

    /// Begins a request with the buffers `data`; a write is durable when it is done if that is
    /// asked for.
    #[inline]
    pub(super) fn begin(
        &mut self,
        pending: Pending,
        data: &[Segment],
        durable: bool,
    ) -> io::Result<()> {
        let index = *self.free.last().ok_or(io::ErrorKind::WouldBlock)?;
        let number = index as u64;
        let buffers = data.iter().map(|segment| (segment.address, segment.length));
        let ring = &mut self.ring;
        match pending.request {
            BlockRequest::Read { offset, .. } => ring.read(number, offset, buffers),
            BlockRequest::Write { offset, .. } => ring.write(number, offset, durable, buffers),
            BlockRequest::Flush => ring.sync_data(number),
            BlockRequest::Discard { offset, length }
            | BlockRequest::WriteZeroes {
                offset,
                length,
                unmap: true,
            } => ring.punch_hole(number, offset, length),
            BlockRequest::WriteZeroes { offset, length, .. } => {
                ring.zero_range(number, offset, length)
            }
            // Nothing to ask the host for.
            BlockRequest::Identify => Err(io::ErrorKind::InvalidInput.into()),
        }?;
        self.free.pop();
        if let Some(place) = self.pending.get_mut(index) {
            *place = Some(pending);
        }
        Ok(())
    }

    /// Hands the host what was begun.
    #[inline]
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.ring.submit()
    }

    /// Waits until something is done, if anything is under way.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.ring.wait()
    }

    /// The next request that is done.
    #[inline]
    pub(super) fn done(&mut self) -> Option<(Pending, io::Result<()>)> {
        loop {
            let completion = self.ring.completed()?;
            let index = usize::try_from(completion.user_data).ok()?;
            if let Some(pending) = self.pending.get_mut(index).and_then(Option::take) {
                self.free.push(index);
                return Some((pending, completion.result));
            }
        }
    }
}
