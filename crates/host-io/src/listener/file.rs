//! The file of a UNIX socket: made over one that a process left behind, and removed with its socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Access, Mode, access, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::{ListenError, ListenStep};
use crate::{Deadline, FdSocket, folder_of};

/// How many clients may wait to be accepted: as many as the time may bring in which a guest starts.
const BACKLOG: i32 = 128;

/// The file of a socket that listens. It goes when this is dropped, unless another has its name by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    is_removed: AtomicBool,
}

impl SocketFile {
    /// A socket that listens at `path`, in place of one that nobody listens on, and its file.
    pub(super) fn make(path: &Path) -> Result<(UnixListener, Self), ListenError> {
        let address = address(path)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| ListenStep::Socket.refused(error))?;
        // The file's mode is that of the socket when it is bound (Linux's unix_bind), less the umask: at
        // no moment may others connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|error| ListenStep::Socket.refused(error))?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                if occupant(path)? == Occupant::LeftOver {
                    remove(path)?;
                }
                bind(&socket, &address)
            }
            other => other,
        }
        .map_err(|error| match error {
            Errno::ADDRINUSE => ListenError::InUse,
            other => ListenStep::File.refused(other),
        })?;
        let file = Self {
            path: path.to_owned(),
            identity: identity(path),
            is_removed: AtomicBool::new(false),
        };
        listen(&socket, BACKLOG).map_err(|error| ListenStep::Listen.refused(error))?;
        Ok((socket.into(), file))
    }

    /// Whether a socket can be made at `path`, of which nothing is changed.
    pub(super) fn check(path: &Path) -> Result<(), ListenError> {
        address(path)?;
        occupant(path)?;
        access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| ListenStep::File.refused(error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless another has taken its name.
    pub(super) fn remove(&self) {
        // Ordering: which of two callers removes it is all that there is to agree on.
        let is_removed = self.is_removed.swap(true, Ordering::Relaxed);
        if !is_removed && self.identity.is_some() && identity(&self.path) == self.identity {
            // It may be gone by now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes the socket at `path` if it is this process that listens on it: for a process that ends while
/// another thread has the [`Listener`](crate::Listener). One that cannot be connected to now stays.
pub fn remove_own_socket(path: &Path) {
    let Ok(socket) = FdSocket::connect(path, &Deadline::after(Duration::ZERO)) else {
        return;
    };
    // Who called listen(2) is the peer (unix(7), SO_PEERCRED).
    let peer = rustix::net::sockopt::socket_peercred(socket.into_stream());
    if peer.is_ok_and(|peer| peer.pid == rustix::process::getpid()) {
        // It may be gone by now.
        let _ = fs::remove_file(path);
    }
}

/// The occupant of a name, which lets a socket be made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupant {
    Nothing,
    /// A socket of a process that has ended.
    LeftOver,
}

/// Whether there is a socket of a process that has ended.
pub(crate) fn is_left_over(path: &Path) -> bool {
    matches!(occupant(path), Ok(Occupant::LeftOver))
}

/// The occupant of `path`, where a socket may take its place. A process that does not accept is not waited for.
fn occupant(path: &Path) -> Result<Occupant, ListenError> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        // Somebody else has removed it; or there is no such folder, which bind tells.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(error) => return Err(ListenStep::Probe.refused(error)),
    };
    if !file.file_type().is_socket() {
        return Err(ListenError::NotASocket);
    }
    match FdSocket::connect(path, &Deadline::after(Duration::ZERO)) {
        Ok(_) => Err(ListenError::InUse),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(Occupant::LeftOver),
            io::ErrorKind::NotFound => Ok(Occupant::Nothing),
            // Its process is busy, or stopped.
            io::ErrorKind::TimedOut => Err(ListenError::InUse),
            _ => Err(ListenStep::Probe.refused(error)),
        },
    }
}

/// Removes a socket that nobody listens on. Somebody else may have done so.
fn remove(path: &Path) -> Result<(), ListenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ListenStep::Remove.refused(error))
        }
        _ => Ok(()),
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, ListenError> {
    SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => ListenError::TooLong(path.as_os_str().len()),
        other => ListenStep::File.refused(other),
    })
}

/// Which file it is.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}
