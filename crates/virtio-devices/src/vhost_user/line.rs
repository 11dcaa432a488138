//! The interrupts of one queue of a back end.

use std::io;

use vmmkit_host_io::EventFd;
use vmmkit_virtio::{Queue, QueueInterrupt, Signal};

/// The eventfds that a back end raises for one queue.
#[derive(Debug)]
pub(super) struct Line {
    index: u16,
    /// Buffers were used.
    pub(super) call: EventFd,
    /// The ring cannot be gone on with.
    pub(super) error: EventFd,
    interrupt: QueueInterrupt,
}

impl Line {
    pub(super) fn new(queue: &Queue) -> io::Result<Self> {
        Ok(Self {
            index: queue.index(),
            call: EventFd::new()?,
            error: EventFd::new()?,
            interrupt: queue.interrupt(),
        })
    }

    /// The queue's number.
    pub(super) fn index(&self) -> u16 {
        self.index
    }

    /// Interrupts the driver if buffers were used.
    pub(super) fn forward(&self) {
        if self.call.drain() > 0 {
            self.interrupt.signal();
        }
    }
}
