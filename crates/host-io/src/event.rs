//! An event between threads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::pollable::is_readable;

/// An event that one thread raises and another waits for: an eventfd (eventfd(2)), non-blocking and
/// closed on exec. Any thread may call any of its functions.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// An event that nobody has raised.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    /// Raises the event: its descriptor is readable until [`drain`](Self::drain).
    pub fn notify(&self) {
        // EAGAIN alone is possible: 2^64 - 2 notifications are pending, so it is raised already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Whether the event is raised; it stays so.
    pub fn is_raised(&self) -> bool {
        is_readable(self.0.as_fd())
    }

    /// Takes the event back and returns how often it was raised since the last time.
    pub fn drain(&self) -> u64 {
        read_count(self.0.as_fd())
    }
}

/// Reads the 8-byte counter of an eventfd or a timerfd; 0 where there is nothing to read.
pub(crate) fn read_count(fd: BorrowedFd<'_>) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_event_is_readable_until_it_is_drained() {
        let event = EventFd::new().unwrap();
        assert!(!event.is_raised());
        event.notify();
        event.notify();
        assert!(event.is_raised());
        assert_eq!(event.drain(), 2);
        assert!(!event.is_raised());
        assert_eq!(event.drain(), 0);
    }
}
