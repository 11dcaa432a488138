//! The sources of a console's input, such as a descriptor that other processes share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::pollable::is_readable;

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRead {
    /// This many bytes, at the start of the buffer; may be 0 when what was read was not for the
    /// guest.
    Bytes(usize),
    /// Nothing now; the descriptor will become readable.
    NotReady,
    /// Nothing ever again: the end of the file, or a terminal that was hung up.
    End,
}

/// A source of input for a guest's console. It is read only when the guest has room for as many bytes.
pub trait InputSource: AsFd + Send {
    /// Reads up to `bytes.len()` bytes without blocking.
    ///
    /// # Errors
    /// Any error ends the input.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead>;
}

/// Input from a descriptor, which may be shared with other processes: its flags are left alone.
#[derive(Debug)]
pub struct FdInput(OwnedFd);

impl FdInput {
    /// Input from `fd`.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for FdInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InputSource for FdInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        read_ready(self.0.as_fd(), bytes)
    }
}

/// Reads what `fd` has, at least 1 byte where it has any, up to `bytes.len()` bytes, without blocking and without O_NONBLOCK: that
/// flag belongs to the open file description, which a standard descriptor shares with the shell
/// and with every other process on the terminal.
///
/// If another process reads from the same description, it may take the bytes between the look and
/// the read; the read then waits for the next ones. An empty buffer reads nothing: `NotReady`.
///
/// # Errors
/// The host's, other than EAGAIN, EINTR and the EIO of a terminal that was hung up.
pub fn read_ready(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<InputRead> {
    if bytes.is_empty() || !is_readable(fd) {
        return Ok(InputRead::NotReady);
    }
    match rustix::io::read(fd, bytes) {
        Ok(0) | Err(Errno::IO) => Ok(InputRead::End),
        Ok(length) => Ok(InputRead::Bytes(length)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(InputRead::NotReady),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_gives_bytes_then_nothing_then_its_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut bytes = [0; 8];
        writer.write_all(b"abc").unwrap();
        assert_eq!(
            read_ready(reader.as_fd(), &mut bytes).unwrap(),
            InputRead::Bytes(3)
        );
        assert_eq!(
            read_ready(reader.as_fd(), &mut bytes).unwrap(),
            InputRead::NotReady
        );
        drop(writer);
        assert_eq!(
            read_ready(reader.as_fd(), &mut bytes).unwrap(),
            InputRead::End
        );
    }

    #[test]
    fn dev_null_ends_at_once() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(
            read_ready(null.as_fd(), &mut [0; 8]).unwrap(),
            InputRead::End
        );
    }

    #[test]
    fn a_hung_up_terminal_is_the_end() {
        let pty = crate::open_pty().unwrap();
        drop(pty.slave);
        assert_eq!(
            read_ready(pty.master.as_fd(), &mut [0; 8]).unwrap(),
            InputRead::End
        );
    }
}
