//! Reading a descriptor that is shared with other processes.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::pollable::is_readable;

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRead {
    /// This many bytes, at least 1, at the start of the buffer.
    Bytes(usize),
    /// Nothing now; the descriptor will become readable.
    NotReady,
    /// Nothing ever again: the end of the file, or a terminal that was hung up.
    End,
}

/// Reads what `fd` has, up to `bytes.len()` bytes, without blocking and without O_NONBLOCK: that
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
    use std::os::fd::AsFd;

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
