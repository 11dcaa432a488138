//! Accepting clients on a host that may have no descriptor left for one.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Interest, Poller, TimerFd};

/// How long none is accepted after the host could not: it has no descriptor left, most likely, and would
/// say so again at once.
const PAUSE: Duration = Duration::from_secs(1);

const SOCKET: u64 = 0;
const TIMER: u64 = 1;

/// A listening socket of any family.
pub trait Accept: AsFd {
    /// A connection to one client.
    type Client;

    /// Takes the next client, as accept(2) does.
    ///
    /// # Errors
    /// The host's: [`WouldBlock`](io::ErrorKind::WouldBlock) where nobody waits, for a socket that does not
    /// block; EMFILE and ENFILE where there is no descriptor for one.
    fn accept_one(&self) -> io::Result<Self::Client>;

    /// Has [`accept_one`](Self::accept_one) not wait.
    ///
    /// # Errors
    /// The host's.
    fn make_nonblocking(&self) -> io::Result<()>;
}

impl Accept for UnixListener {
    type Client = UnixStream;

    fn accept_one(&self) -> io::Result<UnixStream> {
        Ok(self.accept()?.0)
    }

    fn make_nonblocking(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

impl Accept for TcpListener {
    type Client = TcpStream;

    fn accept_one(&self) -> io::Result<TcpStream> {
        Ok(self.accept()?.0)
    }

    fn make_nonblocking(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

/// Accepts the clients of a listening socket, one at a time.
///
/// Its descriptor is readable while a client waits that the host may be able to accept. Where it was not,
/// for want of descriptors, it is not readable for a second: a socket stays readable whatever accept(2)
/// says, and a loop that waits for the socket itself never rests then.
///
/// Any thread may accept, one at a time.
#[derive(Debug)]
pub struct Acceptor<S> {
    socket: S,
    /// The socket, or the timer where the host could not accept.
    poller: Poller,
    timer: TimerFd,
    is_pausing: AtomicBool,
}

impl<S: Accept> Acceptor<S> {
    /// An acceptor of the clients of `socket`, which it makes non-blocking.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new(socket: S) -> io::Result<Self> {
        let (poller, timer) = (Poller::new()?, TimerFd::new()?);
        socket.make_nonblocking()?;
        poller.add(&socket, SOCKET, Interest::Readable)?;
        poller.add(&timer, TIMER, Interest::Readable)?;
        Ok(Self {
            socket,
            poller,
            timer,
            is_pausing: AtomicBool::new(false),
        })
    }

    /// The socket itself. Wait for the acceptor instead.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The next client, if one waits and the host can accept it.
    pub fn accept(&self) -> Option<S::Client> {
        // Ordering: only the thread that accepts uses it.
        if self.is_pausing.load(Ordering::Relaxed) {
            if !self.timer.drain() {
                return None;
            }
            self.pause(false);
        }
        match self.socket.accept_one() {
            Ok(client) => Some(client),
            Err(error) => {
                let may_be_better_now = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                );
                if !may_be_better_now {
                    self.rest();
                }
                None
            }
        }
    }

    /// Accepts nobody for a second, and is not readable meanwhile: for one who has no thread or memory for
    /// a client now.
    pub fn rest(&self) {
        self.pause(true);
        self.timer.arm_once(PAUSE);
    }

    fn pause(&self, pauses: bool) {
        // It fails for a descriptor that was not added only.
        let interest = Interest::of(!pauses, false);
        let _ = self.poller.change(&self.socket, SOCKET, interest);
        // Ordering: as of `accept`.
        self.is_pausing.store(pauses, Ordering::Relaxed);
    }
}

impl<S> AsFd for Acceptor<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl<S> AsRawFd for Acceptor<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    /// A socket that is ready, and that the host cannot accept anybody from.
    fn refusing<S: Accept + From<OwnedFd>>() -> (Acceptor<S>, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (&other).write_all(b"x").unwrap();
        (Acceptor::new(S::from(one.into())).unwrap(), other)
    }

    fn check<S: Accept + From<OwnedFd>>() {
        let (acceptor, _other) = refusing::<S>();
        let poller = Poller::new().unwrap();
        poller.add(&acceptor, 7, Interest::Readable).unwrap();
        let mut ready = Vec::new();
        for _ in 0..2 {
            // The second time by the timer.
            poller.wait(&mut ready).unwrap();
            assert!(acceptor.accept().is_none());
            poller.look(&mut ready).unwrap();
            assert!(ready.is_empty(), "{ready:?}");
            assert!(acceptor.accept().is_none());
        }
    }

    #[test]
    fn a_host_that_cannot_accept_is_not_asked_again_at_once() {
        check::<UnixListener>();
        check::<TcpListener>();
    }

    #[test]
    fn clients_by_tcp_are_accepted() {
        let acceptor = Acceptor::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(acceptor.accept().is_none());
        let address = acceptor.socket().local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&acceptor, 7, Interest::Readable).unwrap();
        poller.wait(&mut Vec::new()).unwrap();
        assert!(acceptor.accept().is_some());
    }
}
