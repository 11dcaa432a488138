//! The stream by which a guest arrives: a socket, or two descriptors.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Bytes that are read at once where no more are asked for.
const BUFFER: usize = 64 << 10;

/// A stream whose reads and writes come to an end once a limit is set.
#[derive(Debug)]
pub(crate) struct Wire {
    input: BufReader<File>,
    output: File,
    end: Option<Instant>,
}

impl Wire {
    /// Of these two, which may be one.
    pub(crate) fn new(input: OwnedFd, output: OwnedFd) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input.into()),
            output: output.into(),
            end: None,
        }
    }

    /// All reads and writes are to be done after this time.
    pub(crate) fn end_after(&mut self, limit: Duration) {
        self.end = Instant::now().checked_add(limit);
    }
}

/// Waits until `file` is ready for `flags`, until `end`.
fn wait(file: &File, flags: PollFlags, end: Option<Instant>) -> io::Result<()> {
    let Some(end) = end else {
        return Ok(());
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(file.as_fd(), flags)],
            Some(&left),
        ) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.buffer().is_empty() {
            wait(self.input.get_ref(), PollFlags::IN, self.end)?;
        }
        self.input.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait(&self.output, PollFlags::OUT, self.end)?;
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_says_nothing_is_not_waited_for() {
        let (input, writer) = io::pipe().unwrap();
        let (_reader, output) = io::pipe().unwrap();
        let mut wire = Wire::new(input.into(), output.into());
        (&writer).write_all(b"abc").unwrap();
        let mut bytes = [0; 2];
        wire.read_exact(&mut bytes).unwrap();
        wire.end_after(Duration::from_millis(10));
        wire.read_exact(&mut bytes[..1]).unwrap();
        let error = wire.read(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let full = (0..1 << 20).find_map(|_| wire.write(&[0; 4096]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
