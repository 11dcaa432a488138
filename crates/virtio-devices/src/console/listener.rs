//! A UNIX socket that clients connect to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket, whose file goes with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    /// `None` once the file is removed: another may have the name then.
    path: Option<PathBuf>,
}

impl Listener {
    /// Listens at `path`, in place of a socket that nobody listens on.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            other => other,
        }?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path: Some(path.to_owned()),
        })
    }

    /// The next client, if one waits.
    pub(super) fn accept(&self) -> Option<UnixStream> {
        self.socket.accept().ok().map(|(stream, _)| stream)
    }

    /// Removes the file: nobody finds the socket any more.
    pub(super) fn remove_file(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether there is a socket of a process that has ended.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}
