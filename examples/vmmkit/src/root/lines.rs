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
