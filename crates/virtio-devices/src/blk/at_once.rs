//! Requests that are done on the queue's own thread although there is io_uring: those that the host's
//! page cache answers. A copy takes less than what io_uring does for it, above all where that gives it
//! to a thread of its own (each write; each read of tmpfs).

use std::io;
use std::time::{Duration, Instant};

use vmmkit_guest_memory::{GuestRam, Segment};

use super::{BlockRequest, Disk};

/// How long a write that did not wait takes at most: so much, and so much for each MiB.
const WRITE: Duration = Duration::from_millis(1);
const WRITE_MEBIBYTE: Duration = Duration::from_millis(4);
/// How many requests are given to io_uring after one that had to wait for a disk, or would have:
/// more each time, up to this.
const MAX_SKIPPED: u32 = 64;

/// The limits of work done at once, as experience has it.
#[derive(Debug)]
pub(super) struct AtOnce {
    reads: Trial,
    writes: Trial,
}

impl AtOnce {
    pub(super) fn new(disk: &dyn Disk) -> Self {
        Self {
            reads: Trial::new(true),
            writes: Trial::new(disk.buffers_writes()),
        }
    }

    /// Does a read or write of the segments `data`; `None` where io_uring is to do it. Only the
    /// write that finds out that writes wait does so itself.
    #[inline]
    pub(super) fn run(
        &mut self,
        disk: &dyn Disk,
        ram: &GuestRam,
        request: &BlockRequest,
        data: &[Segment],
    ) -> Option<io::Result<()>> {
        match *request {
            BlockRequest::Read { offset, .. } if self.reads.is_due() => {
                match disk.read_now(ram, data, offset) {
                    Ok(()) => self.reads.went_well(),
                    Err(error) => {
                        self.reads
                            .failed(error.kind() == io::ErrorKind::Unsupported);
                        return None;
                    }
                }
                Some(Ok(()))
            }
            BlockRequest::Write { offset, length } if self.writes.is_due() => {
                let started = Instant::now();
                let result = disk.write(ram, data, offset);
                // Whole MiB and the rest of one; a request has less than 2^32 bytes.
                let most = WRITE + WRITE_MEBIBYTE * (length >> 20) as u32;
                if started.elapsed() > most {
                    self.writes.failed(false);
                } else {
                    self.writes.went_well();
                }
                Some(result)
            }
            _ => None,
        }
    }
}

/// Whether to try, after what became of it before.
#[derive(Debug)]
struct Trial {
    is_possible: bool,
    /// Requests to come that are not tried.
    skipped: u32,
    /// How many those will be after the next failure.
    next: u32,
}

impl Trial {
    fn new(is_possible: bool) -> Self {
        Self {
            is_possible,
            skipped: 0,
            next: 1,
        }
    }

    /// Whether this one is to be tried.
    #[inline]
    fn is_due(&mut self) -> bool {
        let is_due = self.skipped == 0;
        self.skipped = self.skipped.saturating_sub(1);
        is_due && self.is_possible
    }

    #[inline]
    fn went_well(&mut self) {
        self.next = 1;
    }

    fn failed(&mut self, for_good: bool) {
        self.is_possible &= !for_good;
        self.skipped = self.next;
        self.next = (2 * self.next).min(MAX_SKIPPED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_each_failure_more_are_not_tried_and_a_success_forgets_that() {
        let mut trial = Trial::new(true);
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            assert!(trial.is_due());
            trial.failed(false);
            for _ in 0..expected {
                assert!(!trial.is_due());
            }
        }
        assert!(trial.is_due());
        trial.went_well();
        assert!(trial.is_due());
        trial.failed(false);
        assert!(!trial.is_due() && trial.is_due());
    }

    #[test]
    fn what_is_impossible_is_never_tried_again() {
        let mut trial = Trial::new(true);
        assert!(trial.is_due());
        trial.failed(true);
        assert!((0..1000).all(|_| !trial.is_due()));
    }
}
