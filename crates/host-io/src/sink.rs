//! Where console output goes, written without ever waiting for a slow reader.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::Pollable;
use crate::pollable::wait_writable;

/// The most that is written at once where only a look tells whether a write would block: pipe(7)
/// is writable when PIPE_BUF (4096) bytes fit.
const POLLED_CHUNK: usize = 4096;

/// A descriptor and how to write to it without blocking.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    mode: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// O_NONBLOCK is set on a description that is ours alone, or was set by its owner.
    NonBlocking,
    /// A socket: each send says that it must not block.
    Socket,
    /// A regular file or /dev/null: a write never waits for a reader.
    Direct,
    /// Anything else: look first, then write a chunk that is likely to fit.
    Polled,
}

/// The result of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// This many bytes went out.
    Bytes(usize),
    /// The reader takes none now.
    Full,
    /// There is no reader any more, and never will be.
    Gone,
}

impl Sink {
    /// Takes `fd`, without a change to its open file description: that one may be shared with the
    /// shell and every other process on the terminal, which O_NONBLOCK would break.
    pub fn new(fd: OwnedFd) -> Self {
        let kind = Pollable::kind(fd.as_fd());
        let is_nonblocking = fcntl_getfl(&fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        let (fd, mode) = match kind {
            Pollable::File | Pollable::Null => (fd, Writing::Direct),
            Pollable::Socket => (fd, Writing::Socket),
            _ if is_nonblocking => (fd, Writing::NonBlocking),
            Pollable::Terminal | Pollable::Pipe => match reopen(fd.as_fd()) {
                Some(own) => (own, Writing::NonBlocking),
                None => (fd, Writing::Polled),
            },
            Pollable::Other => (fd, Writing::Polled),
        };
        Self { fd, mode }
    }

    /// Writes some of `bytes`, which are not empty. SIGPIPE must be ignored, as the Rust runtime does
    /// for every program.
    ///
    /// # Errors
    /// The host's, other than EAGAIN, EINTR and those of a reader that has gone away.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Written> {
        let result = match self.mode {
            Writing::NonBlocking | Writing::Direct => rustix::io::write(&self.fd, bytes),
            Writing::Socket => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Writing::Polled if wait_writable(self.as_fd(), Duration::ZERO) => {
                rustix::io::write(&self.fd, bytes.get(..POLLED_CHUNK).unwrap_or(bytes))
            }
            Writing::Polled => Err(Errno::AGAIN),
        };
        match result {
            Ok(length) => Ok(Written::Bytes(length)),
            Err(Errno::INTR) => Ok(Written::Bytes(0)),
            Err(Errno::AGAIN) => Ok(Written::Full),
            // A pipe or socket nobody reads; a terminal that was hung up.
            Err(Errno::PIPE | Errno::CONNRESET | Errno::IO) => Ok(Written::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A description of our own for the same terminal or pipe, non-blocking; `None` where the host
/// gives none (no /proc, another user's terminal).
fn reopen(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let stat = fstat(fd).ok()?;
    // Opening /dev/ptmx (5:2) again would make a new pseudo-terminal.
    if stat.st_rdev == rustix::fs::makedev(5, 2) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = open(path, flags, Mode::empty()).ok()?;
    let own_stat = fstat(&own).ok()?;
    let same = (stat.st_dev, stat.st_ino, stat.st_rdev)
        == (own_stat.st_dev, own_stat.st_ino, own_stat.st_rdev);
    same.then_some(own)
}
