//! The host's side: the socket that host programs connect to, and those that they listen on.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use vmmkit_host_io::Listener;

use super::VsockError;

/// Programs that may wait to be accepted: as many as a guest's boot may take to be ready.
const BACKLOG: i32 = 128;
/// The longest path: `sun_path` has 108 bytes, of which a `_4294967295` and a zero are not ours.
pub(super) const MOST_PATH: usize = 96;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// The socket `<path>`, and the way to those at `<path>_<port>`. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct HostSocket {
    pub(super) listener: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl HostSocket {
    /// Listens on `path`, for the user alone. A socket there on which nobody listens is replaced.
    pub(super) fn listen(path: &Path) -> Result<Self, VsockError> {
        check_length(path)?;
        let failed = |source| VsockError::Socket {
            path: path.to_owned(),
            source,
        };
        let listener = match bind_to(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if is_stale(path)? {
                    remove(path)?;
                }
                bind_to(path)
            }
            other => other,
        }
        .map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity,
        })
    }

    /// Whether it could be made, as far as that can be told without making it.
    pub(super) fn check(path: &Path) -> Result<(), VsockError> {
        check_length(path)?;
        is_stale(path)?;
        Listener::check(path).map_err(|source| VsockError::Socket {
            path: path.to_owned(),
            source,
        })
    }

    /// The next program that has connected; `None` where none waits.
    pub(super) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match accept_with(&self.listener, FLAGS) {
            Ok(socket) => Ok(Some(socket)),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects `socket` to the program that listens on `<path>_<port>`. It does not wait: a program
    /// that has too many others waiting refuses.
    pub(super) fn connect(&self, socket: &OwnedFd, port: u32) -> io::Result<()> {
        let mut path = OsString::from(&self.path);
        path.push(format!("_{port}"));
        let address = SocketAddrUnix::new(path.as_bytes())?;
        Ok(connect(socket, &address)?)
    }

    /// Removes the file, if it is still this socket's.
    pub(super) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // It may be gone by now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A socket that is not connected.
pub(super) fn stream_socket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    Ok(socket_with(family, kind, FLAGS, None)?)
}

fn bind_to(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes())?;
    let socket = stream_socket()?;
    // Linux makes the file with the mode of the socket: it is never anybody else's.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn check_length(path: &Path) -> Result<(), VsockError> {
    match path.as_os_str().len() > MOST_PATH {
        true => Err(VsockError::PathTooLong(path.to_owned())),
        false => Ok(()),
    }
}

/// Removes a socket on which nobody listens. Somebody else may have done so.
fn remove(path: &Path) -> Result<(), VsockError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(VsockError::Socket {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Whether there is a socket on which nobody listens.
fn is_stale(path: &Path) -> Result<bool, VsockError> {
    let failed = |source| VsockError::Socket {
        path: path.to_owned(),
        source,
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // Somebody else has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(VsockError::NotASocket(path.to_owned()));
    }
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes());
    let address = address.map_err(|error| failed(error.into()))?;
    let probe = stream_socket().map_err(failed)?;
    match connect(&probe, &address) {
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        // A full backlog is somebody who listens, too.
        Ok(()) | Err(Errno::AGAIN) => Err(VsockError::InUse(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
