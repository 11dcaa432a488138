//! The kind of a descriptor, as far as waiting for it goes.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat, major, minor};

/// How a descriptor can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pollable {
    /// A terminal or pseudo-terminal.
    Terminal,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A regular file or a directory: always ready; epoll refuses it with EPERM.
    File,
    /// `/dev/null`: reads end at once and writes vanish; epoll refuses it.
    Null,
    /// Any other character or block device, or a descriptor that cannot be looked at.
    Other,
}

impl Pollable {
    /// The kind of `fd`.
    pub fn kind(fd: BorrowedFd<'_>) -> Self {
        let Ok(stat) = fstat(fd) else {
            return Self::Other;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::RegularFile | FileType::Directory => Self::File,
            // Character device 1:3 (Linux, admin-guide/devices.txt).
            FileType::CharacterDevice if major(stat.st_rdev) == 1 && minor(stat.st_rdev) == 3 => {
                Self::Null
            }
            FileType::CharacterDevice if rustix::termios::isatty(fd) => Self::Terminal,
            _ => Self::Other,
        }
    }

    /// Whether epoll takes such a descriptor. [`Other`](Self::Other) is left to a try.
    pub const fn epoll_takes_it(self) -> bool {
        !matches!(self, Self::File | Self::Null)
    }
}

/// Whether a read would not block now: there are bytes, or the end, or an error.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    wait(fd, PollFlags::IN, Duration::ZERO)
}

/// Waits up to `limit` until a read would not block.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    wait(fd, PollFlags::IN, limit)
}

/// Waits up to `limit` until a write of one byte would not block.
pub(crate) fn wait_writable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    wait(fd, PollFlags::OUT, limit)
}

fn wait(fd: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> bool {
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            // Out of memory: not known to be ready.
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let pty = crate::open_pty().unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let null = File::open("/dev/null").unwrap();
        let zero = File::open("/dev/zero").unwrap();
        assert_eq!(Pollable::kind(reader.as_fd()), Pollable::Pipe);
        assert_eq!(Pollable::kind(socket.as_fd()), Pollable::Socket);
        assert_eq!(Pollable::kind(pty.slave.as_fd()), Pollable::Terminal);
        assert_eq!(Pollable::kind(file.as_fd()), Pollable::File);
        assert_eq!(Pollable::kind(null.as_fd()), Pollable::Null);
        assert_eq!(Pollable::kind(zero.as_fd()), Pollable::Other);
    }
}
