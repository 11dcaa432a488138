//! A stream whose reads and writes come to an end.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A read or write in which nothing moves for so long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket whose reads and writes come to an end.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: UnixStream,
    end: Option<Instant>,
}

/// Ends such a stream from another thread.
#[derive(Debug)]
pub(crate) struct Cancel(UnixStream);

impl Cancel {
    /// Reads and writes fail from now on.
    pub(crate) fn now(&self) {
        // The other side may have closed it.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Timed {
    /// Of `stream`.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, end: None }
    }

    /// To end it.
    pub(crate) fn cancel(&self) -> io::Result<Cancel> {
        self.stream.try_clone().map(Cancel)
    }

    /// All reads and writes are to be done by then.
    pub(crate) fn end_at(&mut self, end: Instant) {
        self.end = Some(end);
    }

    /// How long the next call may take.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = match self.end {
            Some(end) => end.saturating_duration_since(Instant::now()).min(PATIENCE),
            None => PATIENCE,
        };
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

/// A socket says that a call took too long as one says that it would wait (socket(7), SO_RCVTIMEO).
fn in_time<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        in_time(self.stream.read(buffer))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        in_time(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_nothing_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut timed = Timed::new(ours);
        timed.end_at(Instant::now() + Duration::from_millis(20));
        let error = timed.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let full = (0..1 << 20).find_map(|_| timed.write(&[0; 1024]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    #[test]
    fn a_stream_is_ended_by_another_thread() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut timed = Timed::new(ours);
        timed.cancel().unwrap().now();
        assert_eq!(timed.read(&mut [0; 1]).unwrap(), 0);
        assert!(timed.write(&[0; 1]).is_err());
    }
}
