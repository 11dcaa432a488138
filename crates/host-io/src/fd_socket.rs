//! A UNIX socket by which descriptors travel beside bytes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect,
    recvmsg, sendmsg, shutdown, socket_with,
};

use crate::Deadline;

/// How long before somebody who has too many waiting is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// The most descriptors that one [`send`](FdSocket::send) or one piece of a
/// [`receive`](FdSocket::receive) carries.
pub const MAX_FDS: usize = 8;

/// A connected UNIX stream socket (unix(7)) by which descriptors travel too (SCM_RIGHTS).
///
/// Calls block until the deadline that they are given, whatever the peer sends meanwhile. Any thread may call any function; who
/// speaks a protocol over it takes care that messages do not mix.
///
/// ```
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use vmmkit_host_io::{Deadline, EventFd, FdSocket};
///
/// let (near, far) = FdSocket::pair()?;
/// let event = EventFd::new()?;
/// let deadline = Deadline::after(Duration::from_secs(1));
/// near.send(b"take this", &[event.as_fd()], &deadline)?;
/// let (mut bytes, mut fds) = ([0; 9], Vec::new());
/// far.receive(&mut bytes, &mut fds, &deadline)?;
/// assert_eq!((&bytes, fds.len()), (b"take this", 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FdSocket(UnixStream);

impl FdSocket {
    /// Connects to whoever listens at `path`. One that has too many others waiting is tried again
    /// until `deadline`.
    ///
    /// # Errors
    /// The host's: ENOENT where there is no socket, ECONNREFUSED where nobody listens;
    /// [`TimedOut`](io::ErrorKind::TimedOut) at the deadline.
    pub fn connect(path: &Path, deadline: &Deadline) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => return Ok(Self(socket.into())),
                // A full backlog (connect(2)); poll(2) does not tell of room in it.
                Err(Errno::AGAIN) if !deadline.left().is_zero() => thread::sleep(RETRY),
                Err(Errno::INTR) => {}
                Err(error) => return Err(explain(error)),
            }
        }
    }

    /// The connection itself, which does not block where it was made by [`connect`](Self::connect).
    pub fn into_stream(self) -> UnixStream {
        self.0
    }

    /// Two sockets, each the other's peer.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    /// Sends all of `bytes`, and copies of `fds` with the first of them.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) at the deadline, [`InvalidInput`](io::ErrorKind::InvalidInput)
    /// for more than [`MAX_FDS`] descriptors or for descriptors without a byte, or the host's: EPIPE
    /// where the peer is gone. Part of the bytes may have been sent then.
    pub fn send(
        &self,
        mut bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: &Deadline,
    ) -> io::Result<()> {
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
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.0, &pieces, &mut ancillary, flags) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    bytes = bytes.get(sent..).unwrap_or_default();
                    ancillary.clear();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => deadline.wait(&self.0, PollFlags::OUT)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives exactly as many bytes as there is room for, and appends to `fds` the descriptors
    /// that came with them, closed on exec.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where the peer is gone,
    /// [`TimedOut`](io::ErrorKind::TimedOut) at the deadline,
    /// [`InvalidData`](io::ErrorKind::InvalidData) where more descriptors came than [`MAX_FDS`], or the host's.
    pub fn receive(
        &self,
        bytes: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        deadline: &Deadline,
    ) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            if fds.len() > MAX_FDS {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match self.receive_piece(rest, fds) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    deadline.wait(&self.0, PollFlags::IN)?;
                }
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
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
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

/// A connection that a full backlog refused to the end.
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

    fn long() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[test]
    fn a_descriptor_that_travelled_is_the_same_event() {
        let (near, far) = FdSocket::pair().unwrap();
        let event = EventFd::new().unwrap();
        near.send(b"ab", &[event.as_fd(), event.as_fd()], &long())
            .unwrap();
        near.send(b"c", &[], &long()).unwrap();
        let (mut bytes, mut fds) = ([0; 3], Vec::new());
        far.receive(&mut bytes, &mut fds, &long()).unwrap();
        assert_eq!((&bytes, fds.len()), (b"abc", 2));
        rustix::io::write(&fds[1], &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(event.drain(), 1);
    }

    #[test]
    fn descriptors_need_a_byte_and_have_a_limit() {
        let (near, _far) = FdSocket::pair().unwrap();
        let fds = [near.as_fd(); MAX_FDS + 1];
        for (bytes, fds) in [(&b"x"[..], &fds[..]), (b"", &fds[..1])] {
            let error = near.send(bytes, fds, &long()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_peer_that_says_nothing_is_not_waited_for_and_one_that_is_gone_is_told() {
        let (near, far) = FdSocket::pair().unwrap();
        let receive = || {
            let none = Deadline::after(Duration::ZERO);
            near.receive(&mut [0; 1], &mut Vec::new(), &none)
                .unwrap_err()
        };
        assert_eq!(receive().kind(), io::ErrorKind::TimedOut);
        far.hang_up();
        assert_eq!(receive().kind(), io::ErrorKind::UnexpectedEof);
        let error = near.send(b"x", &[], &long()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn nobody_at_a_path_is_an_error() {
        let missing = Path::new("/nonexistent/vmmkit.sock");
        let error = FdSocket::connect(missing, &long()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_peer_that_drips_does_not_move_the_deadline() {
        let (near, far) = FdSocket::pair().unwrap();
        let drip = thread::spawn(move || {
            while far.send(b"x", &[], &long()).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let deadline = Deadline::after(Duration::from_millis(200));
        let mut bytes = vec![0; 1 << 20];
        let error = near.receive(&mut bytes, &mut Vec::new(), &deadline);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(near);
        drip.join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_nothing_holds_up_a_send_until_the_deadline() {
        let (near, _far) = FdSocket::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(100));
        let error = near.send(&vec![0; 8 << 20], &[], &deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn somebody_who_accepts_nobody_is_waited_for_until_the_deadline() {
        let path = std::env::temp_dir().join(format!("vmmkit-full-{}", std::process::id()));
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let listener = listener.unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = FdSocket::connect(&path, &long()).unwrap();
        let short = Deadline::after(Duration::from_millis(100));
        let error = FdSocket::connect(&path, &short).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(first);
    }
}
