//! A UNIX socket that clients connect to.

mod acceptor;
mod error;
mod file;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

pub use acceptor::{Accept, Acceptor};
pub use error::{ListenError, ListenStep};
use file::SocketFile;
pub(crate) use file::is_left_over;
pub use file::remove_own_socket;

/// A listening UNIX socket, whose file goes with it. Only its user may connect (mode 0600).
///
/// Its descriptor is that of an [`Acceptor`]: readable while a client waits that the host may be able to
/// accept.
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor<UnixListener>,
    file: SocketFile,
}

impl Listener {
    /// Listens at `path`, in place of a socket that nobody listens on.
    ///
    /// # Errors
    /// [`ListenError`]; what is at `path` stays then.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let (socket, file) = SocketFile::make(path)?;
        let acceptor = Acceptor::new(socket).map_err(|error| ListenStep::Socket.refused(error))?;
        Ok(Self { acceptor, file })
    }

    /// Whether a socket can be made at `path`, of which nothing is changed.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn check(path: &Path) -> Result<(), ListenError> {
        SocketFile::check(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The next client, if one waits and the host can accept it. Its socket blocks.
    pub fn accept(&self) -> Option<UnixStream> {
        self.acceptor.accept()
    }

    /// Accepts nobody for a second, as [`Acceptor::rest`] does.
    pub fn rest(&self) {
        self.acceptor.rest();
    }

    /// Removes the file, unless another has taken its name: nobody finds the socket any more.
    pub fn remove_file(&self) {
        self.file.remove();
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.acceptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::{Deadline, FdSocket};

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vmmkit-{name}-{}", std::process::id()))
    }

    #[test]
    fn only_the_user_may_connect_and_the_file_goes_with_the_listener() {
        let path = place("listener");
        let listener = Listener::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listener.accept().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_some());
        for second in [Listener::bind(&path).map(drop), Listener::check(&path)] {
            assert!(matches!(second, Err(ListenError::InUse)), "{second:?}");
        }
        drop(listener);
        assert!(!path.exists());
        // One that a process left behind is replaced.
        drop(UnixListener::bind(&path).unwrap());
        Listener::check(&path).unwrap();
        let first = Listener::bind(&path).unwrap();
        // One that has taken the name stays.
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_process_that_does_not_accept_is_there_and_is_not_waited_for() {
        let path = place("busy");
        let _listener = Listener::bind(&path).unwrap();
        let now = Deadline::after(Duration::ZERO);
        let mut waiting = Vec::new();
        while let Ok(client) = FdSocket::connect(&path, &now) {
            waiting.push(client);
            assert!(waiting.len() < 1000);
        }
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, ListenError::InUse), "{error}");
    }

    #[test]
    fn the_socket_of_this_process_is_told_from_others() {
        let path = place("own");
        remove_own_socket(&path);
        drop(UnixListener::bind(&path).unwrap());
        remove_own_socket(&path);
        assert!(path.exists(), "nobody listens on it");
        let listener = Listener::bind(&path).unwrap();
        remove_own_socket(&path);
        assert!(!path.exists());
        drop(listener);
        fs::write(&path, "text").unwrap();
        remove_own_socket(&path);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_not_a_socket_stays_and_a_path_has_an_end() {
        let path = place("not-a-socket");
        fs::write(&path, "text").unwrap();
        for refused in [Listener::bind(&path).map(drop), Listener::check(&path)] {
            assert!(
                matches!(refused, Err(ListenError::NotASocket)),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        fs::remove_file(&path).unwrap();
        let long = place(&"x".repeat(200));
        let error = Listener::bind(&long).unwrap_err();
        assert!(matches!(error, ListenError::TooLong(_)), "{error}");
        let lost = place("no-folder").join("s");
        for refused in [Listener::bind(&lost).map(drop), Listener::check(&lost)] {
            let step = ListenStep::File;
            assert!(
                matches!(refused, Err(ListenError::Host { step: it, .. }) if it == step),
                "{refused:?}"
            );
        }
    }
}
