//! Waiting for many descriptors at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// How many ready descriptors one wait tells of; more come with the next.
const BATCH: usize = 32;

/// The events to wait for on a descriptor. A hang-up or an error is always reported, as readable and
/// writable, so that the read or write that follows finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read.
    Readable,
    /// There is room to write.
    Writable,
    /// Either.
    Both,
    /// A hang-up or an error only.
    None,
    /// Each time something more comes to be read, without reading what was there: an
    /// [`EventFd`](crate::EventFd) need not be drained.
    EachArrival,
}

impl Interest {
    /// The interest of somebody who reads, writes, does both or neither.
    #[inline]
    pub fn of(reads: bool, writes: bool) -> Self {
        match (reads, writes) {
            (true, true) => Self::Both,
            (true, false) => Self::Readable,
            (false, true) => Self::Writable,
            (false, false) => Self::None,
        }
    }
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// The number given with the descriptor.
    pub token: u64,
    /// A read would not block.
    pub readable: bool,
    /// A write would not block.
    pub writable: bool,
}

/// Waits for many descriptors: an epoll(7) instance.
#[derive(Debug)]
pub struct Poller(OwnedFd);

impl Poller {
    /// A poller that waits for nothing.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Waits for `fd` too, and tells of it by `token`. A descriptor that is closed everywhere is
    /// waited for no more.
    ///
    /// # Errors
    /// The host's: EPERM for a regular file, EEXIST for a descriptor that is there.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            fd,
            EventData::new_u64(token),
            flags(interest),
        )?)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// The host's: ENOENT for a descriptor that was not added.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.0,
            fd,
            EventData::new_u64(token),
            flags(interest),
        )?)
    }

    /// Waits for `fd` no more.
    ///
    /// # Errors
    /// The host's: ENOENT for a descriptor that was not added.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Waits until something is ready and puts it into `ready`, in place of what was there.
    ///
    /// # Errors
    /// The host's; not EINTR, which is tried again.
    pub fn wait(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.collect(ready, None)
    }

    /// Puts into `ready` what is ready now.
    ///
    /// # Errors
    /// The host's.
    pub fn look(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.collect(ready, Some(&rustix::event::Timespec::default()))
    }

    fn collect(
        &self,
        ready: &mut Vec<Ready>,
        limit: Option<&rustix::event::Timespec>,
    ) -> io::Result<()> {
        ready.clear();
        let nothing = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [nothing; BATCH];
        let count = loop {
            match epoll::wait(&self.0, &mut events, limit) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        ready.extend(events.iter().take(count).map(|event| {
            let flags = event.flags;
            let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: event.data.u64(),
                readable: gone || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                writable: gone || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Readable => EventFlags::IN,
        Interest::Writable => EventFlags::OUT,
        Interest::Both => EventFlags::IN | EventFlags::OUT,
        Interest::None => EventFlags::empty(),
        Interest::EachArrival => EventFlags::IN | EventFlags::ET,
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFd;

    #[test]
    fn what_is_ready_is_told_by_its_token() {
        let (poller, mut ready) = (Poller::new().unwrap(), Vec::new());
        let (first, second) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        poller.add(&first, 7, Interest::Readable).unwrap();
        poller.add(&second, 8, Interest::Readable).unwrap();
        poller.look(&mut ready).unwrap();
        assert_eq!(ready, []);
        second.notify();
        poller.wait(&mut ready).unwrap();
        let one = |token| Ready {
            token,
            readable: true,
            writable: false,
        };
        assert_eq!(ready, [one(8)]);
        poller.change(&second, 8, Interest::None).unwrap();
        poller.look(&mut ready).unwrap();
        assert_eq!(ready, []);
        poller.remove(&second).unwrap();
        assert!(poller.remove(&second).is_err());
    }

    #[test]
    fn each_arrival_is_told_once_without_draining() {
        let (poller, mut ready) = (Poller::new().unwrap(), Vec::new());
        let event = EventFd::new().unwrap();
        poller.add(&event, 1, Interest::EachArrival).unwrap();
        for _ in 0..3 {
            event.notify();
            poller.wait(&mut ready).unwrap();
            assert_eq!(ready.len(), 1);
            poller.look(&mut ready).unwrap();
            assert_eq!(ready, []);
        }
    }

    #[test]
    fn a_hung_up_pipe_is_told_even_without_interest() {
        let (poller, mut ready) = (Poller::new().unwrap(), Vec::new());
        let (reader, writer) = std::io::pipe().unwrap();
        poller.add(&reader, 1, Interest::None).unwrap();
        drop(writer);
        poller.wait(&mut ready).unwrap();
        assert!(ready.iter().all(|ready| ready.readable && ready.writable));
        assert_eq!(ready.len(), 1);
    }
}
