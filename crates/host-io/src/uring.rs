//! One file, read and written asynchronously into and out of a guest's RAM.

mod restrict;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, squeue};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::EventFd;
use slot::{Operation, Progress, Slot};

/// The RAM of a guest as vm-memory has it, with the log `B` of the VMM's own writes.
pub type SharedMemory<B> = Arc<GuestMemoryMmap<B>>;

/// The result of an operation.
#[derive(Debug)]
pub struct Completion {
    /// The number that came with the operation.
    pub user_data: u64,
    /// The host's answer. A read or write is whole or an error: what the host does in parts is
    /// gone on with here.
    pub result: io::Result<()>,
}

/// Operations on one file by io_uring(7), Linux 5.6 or later.
///
/// The buffers are ranges of a guest's RAM. They are checked when an operation is pushed, and the
/// ring keeps RAM, file and everything else that the host uses until the operation is complete;
/// dropping the ring waits for that. What is read is noted in the dirty log.
///
/// An operation is pushed, [submitted](Self::submit) with others, and comes back from
/// [`completed`](Self::completed) once [`event`](Self::event) is raised. In the steady state nothing
/// is allocated. One thread at a time uses a ring.
///
/// Linux 5.10 and later hold the ring itself to the operations of this type on its one file
/// (IORING_REGISTER_RESTRICTIONS): a seccomp filter does not see what a ring is asked for, so that
/// a thread that was taken over could otherwise open files and connect by it.
pub struct Uring<B: Bitmap> {
    ring: IoUring,
    memory: SharedMemory<B>,
    event: Arc<EventFd>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Whether something was pushed since the last submission.
    has_unsubmitted: bool,
    /// Entries that were pushed so far.
    pushed: u64,
    is_closed: bool,
    /// io_uring_enter; tests have a host that refuses it.
    call: fn(&IoUring, usize) -> io::Result<usize>,
    /// Since when the host has had no resources for it, and how long that is put up with.
    refused_since: Option<Instant>,
    patience: Duration,
}

/// How long a host without resources is asked again, and how long after the time before.
const PATIENCE: Duration = Duration::from_secs(5);
const BACK_OFF: Duration = Duration::from_millis(5);

impl<B: Bitmap> Uring<B> {
    /// A ring for up to `depth` operations at once (1 to 4096, rounded up to a power of 2) between
    /// `file` and `memory`.
    ///
    /// # Errors
    /// The host's; [`is_refused`](Self::is_refused) tells one that does not allow io_uring.
    pub fn new(memory: SharedMemory<B>, file: impl AsFd, depth: u16) -> io::Result<Self> {
        let event = Arc::new(EventFd::new()?);
        let ring = restrict::ring(u32::from(depth.clamp(1, 4096)), |submitter| {
            // The host holds the file from here on, whoever closes it; it is number 0.
            submitter.register_files(&[file.as_fd().as_raw_fd()])?;
            submitter.register_eventfd(event.as_raw_fd())
        })?;
        let count = ring.params().sq_entries() as usize;
        Ok(Self {
            ring,
            memory,
            event,
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count).rev().collect(),
            has_unsubmitted: false,
            pushed: 0,
            is_closed: false,
            call: |ring, wanted| ring.submitter().submit_and_wait(wanted),
            refused_since: None,
            patience: PATIENCE,
        })
    }

    /// Raised when something is complete. It need not be drained where it is waited for with
    /// [`Interest::EachArrival`](crate::Interest::EachArrival); take everything that is complete then.
    pub fn event(&self) -> &Arc<EventFd> {
        &self.event
    }

    /// Whether no further operation has room until one is complete.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// How many operations were pushed and have not come back.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Reads from the file at `offset` into the buffers, in their order.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a buffer that is not in RAM,
    /// [`io::ErrorKind::WouldBlock`] where the ring is full; nothing is pushed then.
    pub fn read(
        &mut self,
        user_data: u64,
        offset: u64,
        buffers: impl IntoIterator<Item = (GuestAddress, u32)>,
    ) -> io::Result<()> {
        self.push(user_data, offset, Operation::Read, buffers)
    }

    /// Writes the buffers, in their order, to the file at `offset`; with `durable` it is complete
    /// when the data is on the disk (RWF_DSYNC).
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn write(
        &mut self,
        user_data: u64,
        offset: u64,
        durable: bool,
        buffers: impl IntoIterator<Item = (GuestAddress, u32)>,
    ) -> io::Result<()> {
        self.push(user_data, offset, Operation::Write { durable }, buffers)
    }

    /// Makes durable what was written by operations that are complete: fdatasync(2).
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn sync_data(&mut self, user_data: u64) -> io::Result<()> {
        self.push(user_data, 0, Operation::Sync, [])
    }

    /// Gives the range back to the file system, so that it reads as zeroes; the size stays
    /// (FALLOC_FL_PUNCH_HOLE).
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn punch_hole(&mut self, user_data: u64, offset: u64, length: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.push(user_data, offset, Operation::Allocate { mode, length }, [])
    }

    /// Makes the range zeroes that stay allocated (FALLOC_FL_ZERO_RANGE).
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn zero_range(&mut self, user_data: u64, offset: u64, length: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        self.push(user_data, offset, Operation::Allocate { mode, length }, [])
    }

    /// Hands the host everything that was pushed since the last time, by one system call; none where
    /// there is nothing. Where the host has no memory for it now, it is tried again after the next
    /// event, which is raised for that.
    ///
    /// # Errors
    /// The host's, which has not taken everything: [`close`](Self::close) tells what. What it has taken
    /// is complete some time.
    pub fn submit(&mut self) -> io::Result<()> {
        if self.has_unsubmitted {
            self.enter(0)?;
        }
        Ok(())
    }

    /// Submits, and waits until an operation is complete; returns at once where none is in flight.
    ///
    /// # Errors
    /// See [`submit`](Self::submit).
    pub fn wait(&mut self) -> io::Result<()> {
        if self.in_flight() == 0 {
            return Ok(());
        }
        if self.is_closed {
            // What the host has taken is complete without a call.
            thread::sleep(BACK_OFF);
            return Ok(());
        }
        self.enter(1)
    }

    /// Gives the host nothing any more: after this, pushing fails. Returns the numbers of the operations
    /// that it has not taken, which are over; the others are complete some time.
    pub fn close(&mut self) -> Vec<u64> {
        if mem::replace(&mut self.is_closed, true) {
            return Vec::new();
        }
        self.has_unsubmitted = false;
        let untaken = self.ring.submission().len() as u64;
        let first = self.pushed.saturating_sub(untaken);
        let mut numbers = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.sequence >= first && !self.free.contains(&index) {
                self.free.push(index);
                numbers.push(slot.user_data);
            }
        }
        numbers
    }

    /// The next operation that is complete. After the last one, [`submit`](Self::submit) again: what
    /// the host did in part is pushed anew.
    #[inline]
    pub fn completed(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            // Only numbers of slots are ever pushed.
            let index = usize::try_from(entry.user_data()).ok()?;
            let slot = self.slots.get_mut(index)?;
            match slot.advance(entry.result(), &self.memory) {
                Progress::Goes => match self.enqueue(index) {
                    Ok(()) => {}
                    Err(error) => return Some(self.finish(index, Err(error))),
                },
                Progress::Done(result) => return Some(self.finish(index, result)),
            }
        }
    }

    fn finish(&mut self, index: usize, result: io::Result<()>) -> Completion {
        self.free.push(index);
        let user_data = self.slots.get(index).map_or(0, |slot| slot.user_data);
        Completion { user_data, result }
    }

    fn push(
        &mut self,
        user_data: u64,
        offset: u64,
        operation: Operation,
        buffers: impl IntoIterator<Item = (GuestAddress, u32)>,
    ) -> io::Result<()> {
        let index = *self.free.last().ok_or(io::ErrorKind::WouldBlock)?;
        let slot = self.slots.get_mut(index).ok_or(io::ErrorKind::WouldBlock)?;
        slot.prepare(user_data, offset, operation, buffers, &self.memory)?;
        self.enqueue(index)?;
        self.free.pop();
        Ok(())
    }

    fn enqueue(&mut self, index: usize) -> io::Result<()> {
        if self.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let slot = self.slots.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        slot.sequence = self.pushed;
        let entry: squeue::Entry = slot.entry().user_data(index as u64);
        // SAFETY: the entry names iovecs of `slot`, which stay where they are and as they are until
        // its completion: a slot is changed only while it is free (`prepare`) or after its completion
        // (`advance`), and it is free only after `finish`. The iovecs name RAM that was checked when
        // they were made and is mapped while `self.memory` is held; `drop` waits for all completions,
        // or leaks the slots and the memory. What `close` frees is never taken by the host, which
        // looks for entries only when it is called (there is no IORING_SETUP_SQPOLL).
        let pushed = unsafe { self.ring.submission().push(&entry) };
        // There are as many slots as entries, each in the queue at most once.
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.has_unsubmitted = true;
        self.pushed += 1;
        Ok(())
    }

    fn enter(&mut self, wanted: usize) -> io::Result<()> {
        loop {
            match (self.call)(&self.ring, wanted) {
                Ok(_) => {
                    self.refused_since = None;
                    // The host may stop early, at an entry that it refuses.
                    self.has_unsubmitted = !self.ring.submission().is_empty();
                    if !self.has_unsubmitted {
                        return Ok(());
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => return self.refused(error),
                    _ => return Err(error),
                },
            }
        }
    }

    /// The host has no resources now: what was pushed stays, and an event comes a little later. After
    /// some time it is an error, so that nobody waits for ever.
    fn refused(&mut self, error: io::Error) -> io::Result<()> {
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            return Err(error);
        }
        thread::sleep(BACK_OFF);
        self.event.notify();
        Ok(())
    }
}

impl Uring<()> {
    /// Tries whether this process can have a ring.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn probe() -> io::Result<()> {
        IoUring::new(1).map(drop)
    }

    /// Whether `error`, of [`new`](Self::new), means that this host does not let this process have
    /// io_uring: kernel.io_uring_disabled, a seccomp filter, or a kernel without it.
    pub fn is_refused(error: &io::Error) -> bool {
        matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS)
        )
    }
}

impl<B: Bitmap> Drop for Uring<B> {
    /// Waits for what is in flight, whose memory the host may write to until then.
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if self.wait().is_err() {
                mem::forget(self.memory.clone());
                mem::forget(mem::take(&mut self.slots));
                return;
            }
            while self.completed().is_some() {}
        }
        // The host takes a ring apart some time later; the file is closed now.
        let _ = self.ring.submitter().unregister_files();
    }
}

impl<B: Bitmap> fmt::Debug for Uring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("depth", &self.slots.len())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
