//! A UNIX socket by which descriptors travel beside bytes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};

/// The most descriptors that one [`send`](FdSocket::send) or one piece of a
/// [`receive`](FdSocket::receive) carries.
pub const MAX_FDS: usize = 8;

/// A connected UNIX stream socket (unix(7)) by which descriptors travel too (SCM_RIGHTS).
///
/// Calls block, for no longer than the limit that was set. Any thread may call any function; who
/// speaks a protocol over it takes care that messages do not mix.
///
/// ```
/// use std::os::fd::AsFd;
/// use vmmkit_host_io::{EventFd, FdSocket};
///
/// let (near, far) = FdSocket::pair()?;
/// let event = EventFd::new()?;
/// near.send(b"take this", &[event.as_fd()])?;
/// let (mut bytes, mut fds) = ([0; 9], Vec::new());
/// far.receive(&mut bytes, &mut fds)?;
/// assert_eq!((&bytes, fds.len()), (b"take this", 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FdSocket(UnixStream);

impl FdSocket {
    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    /// The host's: ENOENT where there is no socket, ECONNREFUSED where nobody listens.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self(UnixStream::connect(path)?))
    }

    /// Two sockets, each the other's peer.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    /// How long one system call of a send or a receive may wait: for ever before this. A limit of
    /// nothing is a microsecond.
    ///
    /// # Errors
    /// The host's.
    pub fn set_limit(&self, limit: Duration) -> io::Result<()> {
        let limit = Some(limit.max(Duration::from_micros(1)));
        self.0.set_read_timeout(limit)?;
        self.0.set_write_timeout(limit)
    }

    /// Sends all of `bytes`, and copies of `fds` with the first of them.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) at the limit, [`InvalidInput`](io::ErrorKind::InvalidInput)
    /// for more than [`MAX_FDS`] descriptors or for descriptors without a byte, or the host's: EPIPE
    /// where the peer is gone. Part of the bytes may have been sent then.
    pub fn send(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        while !bytes.is_empty() {
            let pieces = [IoSlice::new(bytes)];
            match sendmsg(&self.0, &pieces, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    bytes = bytes.get(sent..).unwrap_or_default();
                    ancillary.clear();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(explain(error)),
            }
        }
        Ok(())
    }

    /// Receives exactly as many bytes as there is room for, and appends to `fds` the descriptors
    /// that came with them, closed on exec.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where the peer is gone,
    /// [`TimedOut`](io::ErrorKind::TimedOut) at the limit, [`InvalidData`](io::ErrorKind::InvalidData)
    /// where more descriptors came than [`MAX_FDS`], or the host's.
    pub fn receive(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.receive_piece(rest, fds) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive_piece(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(bytes)];
        let received = recvmsg(
            &self.0,
            &mut pieces,
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(explain)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(received.bytes)
    }

    /// Ends the connection for both sides, though the descriptor stays.
    pub fn hang_up(&self) {
        // ENOTCONN alone is possible: the peer did it before.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// The limit of a socket shows as EAGAIN (socket(7), SO_RCVTIMEO).
fn explain(error: Errno) -> io::Error {
    match error {
        Errno::AGAIN => io::ErrorKind::TimedOut.into(),
        error => error.into(),
    }
}

impl From<UnixStream> for FdSocket {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl AsFd for FdSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFd;

    #[test]
    fn a_descriptor_that_travelled_is_the_same_event() {
        let (near, far) = FdSocket::pair().unwrap();
        let event = EventFd::new().unwrap();
        near.send(b"ab", &[event.as_fd(), event.as_fd()]).unwrap();
        near.send(b"c", &[]).unwrap();
        let (mut bytes, mut fds) = ([0; 3], Vec::new());
        far.receive(&mut bytes, &mut fds).unwrap();
        assert_eq!((&bytes, fds.len()), (b"abc", 2));
        rustix::io::write(&fds[1], &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(event.drain(), 1);
    }

    #[test]
    fn descriptors_need_a_byte_and_have_a_limit() {
        let (near, _far) = FdSocket::pair().unwrap();
        let fds = [near.as_fd(); MAX_FDS + 1];
        for (bytes, fds) in [(&b"x"[..], &fds[..]), (b"", &fds[..1])] {
            let error = near.send(bytes, fds).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_peer_that_says_nothing_is_not_waited_for_and_one_that_is_gone_is_told() {
        let (near, far) = FdSocket::pair().unwrap();
        near.set_limit(Duration::ZERO).unwrap();
        let receive = || near.receive(&mut [0; 1], &mut Vec::new()).unwrap_err();
        assert_eq!(receive().kind(), io::ErrorKind::TimedOut);
        far.hang_up();
        assert_eq!(receive().kind(), io::ErrorKind::UnexpectedEof);
        let error = near.send(b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn nobody_at_a_path_is_an_error() {
        let missing = Path::new("/nonexistent/vmmkit.sock");
        let error = FdSocket::connect(missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
