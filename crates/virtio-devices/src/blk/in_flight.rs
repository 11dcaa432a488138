//! The requests that the host works on by io_uring.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment, WriteLog};
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
    ring: Uring<WriteLog>,
    /// By the number of the operation.
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    /// Why the host takes nothing any more, and what it did not take.
    refused: Option<io::Error>,
    untaken: Vec<u64>,
}

impl InFlight {
    pub(super) fn new(ram: &GuestRam, file: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            ring: Uring::new(ram.shared_memory(), file, QUEUE_SIZE)?,
            pending: vec![None; QUEUE_SIZE.into()],
            free: (0..QUEUE_SIZE.into()).rev().collect(),
            refused: None,
            untaken: Vec::new(),
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

    /// Whether nothing is under way and nothing has failed that [`done`](Self::done) would tell.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.in_flight() == 0 && self.untaken.is_empty()
    }

    /// Whether some have failed that [`done`](Self::done) would tell.
    pub(super) fn has_failed(&self) -> bool {
        !self.untaken.is_empty()
    }

    /// Whether the host takes requests.
    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        self.refused.is_none()
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

    /// Hands the host what was begun. Where it has had no resources for that for some time, what it
    /// has not taken has failed, and it is given nothing any more.
    #[inline]
    pub(super) fn submit(&mut self) {
        if let Err(error) = self.ring.submit() {
            self.give_up(error);
        }
    }

    /// Waits until something is done, if anything is under way.
    pub(super) fn wait(&mut self) {
        if let Err(error) = self.ring.wait() {
            self.give_up(error);
        }
    }

    #[cold]
    fn give_up(&mut self, error: io::Error) {
        self.untaken.extend(self.ring.close());
        self.refused.get_or_insert(error);
    }

    /// The next request that is done.
    #[inline]
    pub(super) fn done(&mut self) -> Option<(Pending, io::Result<()>)> {
        loop {
            let (number, result) = match (self.ring.completed(), &self.refused) {
                (Some(completion), _) => (completion.user_data, completion.result),
                (None, Some(error)) => (self.untaken.pop()?, Err(without_ring(error))),
                (None, None) => return None,
            };
            let index = usize::try_from(number).ok()?;
            if let Some(pending) = self.pending.get_mut(index).and_then(Option::take) {
                self.free.push(index);
                return Some((pending, result));
            }
        }
    }
}

/// The meaning of the first request that fails so, for those to come.
fn without_ring(error: &io::Error) -> io::Error {
    let text = format!("io_uring: {error}; system calls are used from now on");
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{MemfdFlags, memfd_create};
    use vmmkit_guest_memory::RamConfig;

    use super::*;

    #[test]
    fn what_a_host_without_resources_has_not_taken_fails_and_says_why() {
        let ram = GuestRam::new(&RamConfig::default()).unwrap();
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(4096).unwrap();
        let Ok(mut ring) = InFlight::new(&ram, &file) else {
            return;
        };
        let begin = |ring: &mut InFlight, head| {
            let request = BlockRequest::Read {
                offset: 0,
                length: 512,
            };
            let pending = Pending {
                request,
                status: GuestAddress(0),
                head,
                written: 1,
            };
            let data = [Segment {
                address: GuestAddress(4096),
                length: 512,
            }];
            ring.begin(pending, &data, false)
        };
        begin(&mut ring, 1).unwrap();
        ring.submit();
        begin(&mut ring, 2).unwrap();
        ring.give_up(io::Error::from_raw_os_error(11));
        assert!(ring.has_failed() && !ring.is_usable());
        let mut answers = Vec::new();
        while !ring.is_empty() {
            ring.wait();
            while let Some((pending, result)) = ring.done() {
                answers.push((pending.head, result.map_err(|error| error.to_string())));
            }
        }
        answers.sort_by_key(|(head, _)| *head);
        assert_eq!(answers.remove(0), (1, Ok(())));
        let (head, refused) = answers.remove(0);
        let refused = refused.unwrap_err();
        assert_eq!((head, answers.len()), (2, 0));
        assert!(refused.starts_with("io_uring: "), "{refused}");
        assert!(refused.ends_with("system calls are used from now on"));
        assert!(begin(&mut ring, 3).is_err() && ring.is_empty());
    }
}
