//! The host's side: the socket that host programs connect to, and those that they listen on.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use vmmkit_host_io::Listener;

use super::VsockError;

/// The longest path: `sun_path` has 108 bytes, of which a `_4294967295` and a zero are not ours.
pub(super) const MAX_PATH: usize = 96;

/// The socket `<path>`, and the way to those at `<path>_<port>`. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct HostSocket(pub(super) Listener);

impl HostSocket {
    /// Listens on `path`, for the user alone. A socket there on which nobody listens is replaced.
    pub(super) fn listen(path: &Path) -> Result<Self, VsockError> {
        check_length(path)?;
        let listener = Listener::bind(path).map_err(|error| VsockError::at(path, error))?;
        Ok(Self(listener))
    }

    /// Whether it could be made, as far as that can be told without making it.
    pub(super) fn check(path: &Path) -> Result<(), VsockError> {
        check_length(path)?;
        Listener::check(path).map_err(|error| VsockError::at(path, error))
    }

    /// The next program that has connected, if one waits. Its socket does not block.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        let socket = self.0.accept()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket.into())
    }

    /// Connects `socket` to the program that listens on `<path>_<port>`. It does not wait: a program
    /// that has too many others waiting refuses.
    pub(super) fn connect(&self, socket: &OwnedFd, port: u32) -> io::Result<()> {
        let mut path = OsString::from(self.0.path());
        path.push(format!("_{port}"));
        let address = SocketAddrUnix::new(path.as_bytes())?;
        Ok(connect(socket, &address)?)
    }

    /// Removes the file, if it is still this socket's.
    pub(super) fn remove(&self) {
        self.0.remove_file();
    }
}

/// A socket that is not connected.
pub(super) fn stream_socket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(family, kind, flags, None)?)
}

fn check_length(path: &Path) -> Result<(), VsockError> {
    match path.as_os_str().len() > MAX_PATH {
        true => Err(VsockError::PathTooLong(path.to_owned())),
        false => Ok(()),
    }
}
