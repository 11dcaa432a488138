//! Network packets over a UNIX stream socket, each after its length: what passt and QEMU's
//! `-netdev stream` speak.

mod frames;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use thiserror::Error;

use crate::{Deadline, FdSocket};
use frames::FrameWriter;
pub use frames::{FrameReader, MAX_FRAME};

/// Why there is no connection. The host's reason is the source.
#[derive(Debug, Error)]
#[error("network socket {}: cannot connect; {advice}", .path.display())]
pub struct StreamError {
    /// The socket's path.
    path: PathBuf,
    /// The next step.
    advice: String,
    #[source]
    source: io::Error,
}

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that carries Ethernet frames, each after its length: 32 bits, big-endian. No call
/// blocks: what the peer does not take yet is kept, up to two frames of the largest size, and so is
/// the part of a frame that has come.
#[derive(Debug)]
pub struct StreamSocket {
    socket: UnixStream,
    incoming: FrameReader,
    outgoing: FrameWriter,
}

impl StreamSocket {
    /// Connects to whoever listens at `path`. One that has too many others waiting is tried again for
    /// five seconds.
    ///
    /// # Errors
    /// [`StreamError`], with what to do.
    pub fn connect(path: &Path) -> Result<Self, StreamError> {
        FdSocket::connect(path, &Deadline::after(PATIENCE))
            .and_then(|socket| Self::new(socket.into_stream()))
            .map_err(|source| StreamError {
                path: path.to_owned(),
                advice: advice(path, &source),
                source,
            })
    }

    /// Uses a connection that is there.
    ///
    /// # Errors
    /// The host's, where it cannot be made non-blocking.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            incoming: FrameReader::new(),
            outgoing: FrameWriter::new(),
        })
    }

    /// Room for a frame of `length` bytes, up to [`MAX_FRAME`], which the caller fills at once; it
    /// goes out with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where the peer must take something first,
    /// [`io::ErrorKind::InvalidInput`] for a length that is too large, and the host's.
    pub fn frame(&mut self, length: usize) -> io::Result<&mut [u8]> {
        if length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if !self.outgoing.has_room(length) {
            match self.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => outcome?,
            }
        }
        self.outgoing
            .frame(length)
            .ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Sends what is kept.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where something is left, and the host's: the peer is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            // Without a SIGPIPE, should the peer be gone.
            match send(&self.socket, self.outgoing.bytes(), SendFlags::NOSIGNAL) {
                Ok(sent) => self.outgoing.sent(sent),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next frame, which is then behind.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where none has come wholly; all others are the end of the
    /// connection: [`io::ErrorKind::UnexpectedEof`] where the peer closed it,
    /// [`io::ErrorKind::InvalidData`] for a length above [`MAX_FRAME`].
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        while !self.incoming.has_frame()? {
            match rustix::io::read(&self.socket, self.incoming.room()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.incoming.filled(length),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.incoming.take_frame())
    }
}

fn advice(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("start a network there: `passt --socket {}`", path.display())
        }
        io::ErrorKind::PermissionDenied => "let this user write to it".to_owned(),
        _ => "see the reason of the host".to_owned(),
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for StreamSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
