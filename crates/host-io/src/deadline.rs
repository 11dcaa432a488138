//! A time until which somebody is waited for, which another thread may bring nearer.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a wait may go on without a look at whether the deadline is another.
const SLICE: Duration = Duration::from_millis(50);

/// A time until which a peer is waited for. Any thread may change it, and a wait that is under way
/// ends by the new one, within 50 ms.
#[derive(Debug)]
pub struct Deadline(Mutex<Instant>);

impl Deadline {
    /// So much later than now.
    pub fn after(time: Duration) -> Self {
        Self(Mutex::new(Instant::now() + time))
    }

    /// It is so much later than now instead.
    pub fn set_after(&self, time: Duration) {
        *self.lock() = Instant::now() + time;
    }

    /// It is so much later than now, if it was later still.
    pub fn shorten_to(&self, time: Duration) {
        let mut until = self.lock();
        *until = (*until).min(Instant::now() + time);
    }

    /// How long it is until then.
    pub fn left(&self) -> Duration {
        self.lock().saturating_duration_since(Instant::now())
    }

    /// Waits until `fd` is ready for one of `events` or hung up.
    pub(crate) fn wait(&self, fd: impl AsFd, events: PollFlags) -> io::Result<()> {
        loop {
            let left = self.left();
            let slice = left.min(SLICE);
            let limit = Timespec {
                tv_sec: 0,
                // A slice is less than a second.
                tv_nsec: slice.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&fd, events)], Some(&limit)) {
                Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_ends_a_wait() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_secs(600));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| deadline.wait(&near, PollFlags::IN));
            deadline.shorten_to(Duration::ZERO);
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
        deadline.shorten_to(Duration::from_secs(600));
        assert!(deadline.left().is_zero());
        deadline.set_after(Duration::from_secs(600));
        assert!(!deadline.left().is_zero());
    }
}
