//! The socket that clients come to, and the connection of one.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gdbstub::conn::Connection;
use vmmkit_host_io::{Acceptor, Listener as UnixListener};

use crate::Place;

/// How long a client may take nothing of what is sent to it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(Acceptor<TcpListener>),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn bind(place: &Place) -> io::Result<Self> {
        Ok(match place {
            Place::Tcp(address) => Self::Tcp(Acceptor::new(TcpListener::bind(address)?)?),
            Place::Unix(path) => Self::Unix(UnixListener::bind(path)?),
        })
    }

    /// Where it is: with the port that was free.
    pub(crate) fn place(&self, asked: &Place) -> Place {
        match self {
            Self::Tcp(listener) => listener
                .socket()
                .local_addr()
                .map_or_else(|_| asked.clone(), Place::Tcp),
            Self::Unix(_) => asked.clone(),
        }
    }

    /// The next client, if one waits.
    pub(crate) fn accept(&self) -> Option<Stream> {
        let socket = match self {
            Self::Tcp(listener) => Socket::Tcp(listener.accept()?),
            Self::Unix(listener) => Socket::Unix(listener.accept()?),
        };
        socket.prepare().ok()?;
        Some(Stream {
            socket,
            output: Vec::new(),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))
            }
            Self::Unix(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))
            }
        }
    }
}

/// A client: what is written goes out with [`flush`](Connection::flush), in one piece.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    output: Vec<u8>,
}

impl Stream {
    /// Reads once, when there is something; 0 is the end.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.read(bytes),
            Socket::Unix(stream) => stream.read(bytes),
        }
    }
}

/// A socket that is closed with bytes unread takes back what was written: they are read first, as far
/// as they are there.
impl Drop for Stream {
    fn drop(&mut self) {
        let nonblocking = match &self.socket {
            Socket::Tcp(stream) => stream.set_nonblocking(true),
            Socket::Unix(stream) => stream.set_nonblocking(true),
        };
        let (mut bytes, mut turns) = ([0; 4096], 0..16);
        while nonblocking.is_ok() && turns.next().is_some() {
            match self.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

impl Connection for Stream {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.output.push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = match &mut self.socket {
            Socket::Tcp(stream) => Write::write_all(stream, &self.output),
            Socket::Unix(stream) => Write::write_all(stream, &self.output),
        };
        self.output.clear();
        written
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}
