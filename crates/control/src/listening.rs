//! A UNIX socket that listens, and its file.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use thiserror::Error;

use crate::connecting::connect_within;

/// Connections that may wait for the server.
const BACKLOG: i32 = 128;

/// A listening socket that only its owner may connect to. Its file is removed with it.
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that only what was made is removed.
    identity: Option<(u64, u64)>,
}

/// Why there is no socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A socket's path has room for 107 bytes (unix(7)).
    #[error("a socket's path has at most 107 bytes, and this one has {0}")]
    TooLong(usize),
    /// Another process listens there.
    #[error("another process listens there")]
    InUse,
    /// The file there is no socket.
    #[error("there is a file that is no socket")]
    NotASocket,
    /// The host refused.
    #[error("{what}: {source}")]
    Host {
        /// What it refused.
        what: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

impl Listening {
    /// Listens at `path`, with mode 0600. The socket of a process that is gone is replaced.
    ///
    /// # Errors
    /// [`ListenError`]; a file that is there stays then.
    pub fn at(path: &Path) -> Result<Self, ListenError> {
        let address =
            SocketAddrUnix::new(path).map_err(|_| ListenError::TooLong(path.as_os_str().len()))?;
        remove_stale(path)?;
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(refused("making a socket"))?;
        // Before it has a file: bind gives the file the socket's mode (Linux, net/unix/af_unix.c).
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)
            .map_err(refused("setting its mode"))?;
        bind(&listener, &address).map_err(refused("making its file"))?;
        let identity = identity(path);
        let listening = Self {
            listener: listener.into(),
            path: path.to_owned(),
            identity,
        };
        listen(&listening.listener, BACKLOG).map_err(refused("listening"))?;
        Ok(listening)
    }

    /// The socket; it does not block.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.path).finish()
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Removes the socket of a process that is gone.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(file) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !file.file_type().is_socket() {
        return Err(ListenError::NotASocket);
    }
    match connect_within(path, Duration::ZERO) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ListenError::Host {
                what: "removing the socket that nobody listens to",
                source,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its process is busy, or stopped.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ListenError::InUse),
        Err(source) => Err(ListenError::Host {
            what: "finding out whether somebody listens to the socket that is there",
            source,
        }),
        Ok(_) => Err(ListenError::InUse),
    }
}

fn refused(what: &'static str) -> impl Fn(rustix::io::Errno) -> ListenError {
    move |errno| ListenError::Host {
        what,
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::fake::Folder;

    #[test]
    fn only_its_owner_may_connect() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        let listening = Listening::at(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_listens_to_is_replaced() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listening = Listening::at(&path).unwrap();
        let second = Listening::at(&path).unwrap_err();
        assert!(matches!(second, ListenError::InUse), "{second}");
        drop(listening);
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        fs::write(&path, "text").unwrap();
        let error = Listening::at(&path).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn a_file_that_took_its_place_is_left_alone() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        let listening = Listening::at(&path).unwrap();
        fs::rename(&path, folder.path().join("old")).unwrap();
        fs::write(&path, "text").unwrap();
        drop(listening);
        assert!(path.exists());
    }
}
