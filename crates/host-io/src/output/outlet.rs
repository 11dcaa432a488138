//! The far end of a console's output: a descriptor, or whatever takes bytes.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::LINGER;
use crate::pollable::wait_writable;
use crate::sink::{Sink, Written};

/// Where output goes.
pub(super) enum Outlet {
    Descriptor(Sink),
    Writer(Mutex<Box<dyn Write + Send>>),
}

/// A writer that has a function called for each piece of output.
pub(super) struct Calling<F>(pub(super) F);

impl Outlet {
    pub(super) fn of_descriptor(fd: OwnedFd) -> Self {
        Self::Descriptor(Sink::new(fd))
    }

    /// As [`Sink::write`].
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Written> {
        let writer = match self {
            Self::Descriptor(sink) => return sink.write(bytes),
            Self::Writer(writer) => writer,
        };
        let mut writer = writer.lock();
        let written = writer.write(bytes).and_then(|length| {
            writer.flush()?;
            Ok(length)
        });
        match written {
            Ok(0) => Ok(Written::Gone),
            Ok(length) => Ok(Written::Bytes(length)),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(Written::Bytes(0)),
                ErrorKind::WouldBlock => Ok(Written::Full),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(Written::Gone),
                _ => Err(error),
            },
        }
    }

    /// The descriptor that tells when there is room again, where there is one.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Descriptor(sink) => Some(sink.as_fd()),
            Self::Writer(_) => None,
        }
    }

    /// Waits for room up to `limit`; whether another write is worth trying.
    pub(super) fn wait_for_room(&self, limit: Duration) -> bool {
        match self.descriptor() {
            Some(fd) => wait_writable(fd, limit),
            None => {
                thread::sleep(LINGER.min(limit));
                true
            }
        }
    }
}

impl<F: FnMut(&[u8])> Write for Calling<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(sink) => sink.fmt(f),
            Self::Writer(_) => f.write_str("Writer"),
        }
    }
}
