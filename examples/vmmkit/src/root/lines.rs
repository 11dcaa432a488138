//! Lines of a terminal that this process shares with others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{LocalModes, tcgetattr};
use vmmkit_host_io::{InputRead, InputSource, Interest, Poller, is_foreground, read_ready};

/// A terminal that keeps its settings, as the input of a command. Its lines are read while this job is in its
/// foreground; not while another program has it give single keys (`... | less`), or hides what is typed, as for a
/// password (`... | sudo tee`).
pub(super) struct Lines {
    tty: OwnedFd,
    /// Readable where a line may have come: no arrival is told of again that is not this process's.
    arrivals: Poller,
}

impl Lines {
    /// Lines of `tty`.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub(super) fn new(tty: OwnedFd) -> io::Result<Self> {
        let arrivals = Poller::new()?;
        arrivals.add(&tty, 0, Interest::EachArrival)?;
        Ok(Self { tty, arrivals })
    }

    fn may_read(&self) -> bool {
        let shown_lines = LocalModes::ICANON | LocalModes::ECHO;
        is_foreground(self.tty.as_fd())
            && tcgetattr(&self.tty).is_ok_and(|modes| modes.local_modes.contains(shown_lines))
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrivals.as_fd()
    }
}

impl InputSource for Lines {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        if self.may_read() {
            match read_ready(self.tty.as_fd(), bytes)? {
                InputRead::NotReady => {}
                // EIO: another job has been given the terminal just now.
                InputRead::End if !self.may_read() => {}
                other => return Ok(other),
            }
        }
        self.arrivals.look(&mut Vec::new())?;
        Ok(InputRead::NotReady)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::termios::{OptionalActions, tcsetattr};
    use vmmkit_host_io::open_pty;

    use super::*;

    /// Whether `fd` becomes readable within so many seconds: a terminal has what is typed a moment later.
    fn is_told(fd: impl AsFd, seconds: i64) -> bool {
        let mut list = [PollFd::new(&fd, PollFlags::IN)];
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        poll(&mut list, Some(&time)).unwrap() > 0
    }

    #[test]
    fn keys_of_another_program_are_left_to_it() {
        let pty = open_pty().unwrap();
        let mut typing = File::from(pty.master);
        let mut lines = Lines::new(pty.slave.try_clone().unwrap()).unwrap();
        let mut bytes = [0; 16];
        typing.write_all(b"one\ntwo\n").unwrap();
        for line in [b"one\n", b"two\n"] {
            assert!(is_told(&lines, 30));
            assert!(matches!(lines.read(&mut bytes), Ok(InputRead::Bytes(4))));
            assert_eq!(&bytes[..4], line);
        }
        assert!(matches!(lines.read(&mut bytes), Ok(InputRead::NotReady)));
        let before = tcgetattr(&pty.slave).unwrap();
        for hidden in [LocalModes::ICANON, LocalModes::ECHO] {
            let mut modes = before.clone();
            modes.local_modes.remove(hidden);
            tcsetattr(&pty.slave, OptionalActions::Now, &modes).unwrap();
            typing.write_all(b"key\n").unwrap();
            assert!(is_told(&pty.slave, 30));
            // It is not told of again and again.
            assert!((0..3).any(|_| {
                assert!(matches!(lines.read(&mut bytes), Ok(InputRead::NotReady)));
                !is_told(&lines, 0)
            }));
            let read = read_ready(pty.slave.as_fd(), &mut bytes).unwrap();
            assert!(matches!(read, InputRead::Bytes(4)));
            tcsetattr(&pty.slave, OptionalActions::Now, &before).unwrap();
        }
        typing.write_all(b"line\n\x04").unwrap();
        assert!(is_told(&lines, 30));
        assert!(matches!(lines.read(&mut bytes), Ok(InputRead::Bytes(5))));
        assert!(is_told(&lines, 30));
        assert!(matches!(lines.read(&mut bytes), Ok(InputRead::End)));
    }
}
