//! A UNIX socket that clients connect to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Access, Mode, access, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use crate::{Deadline, FdSocket, Interest, Poller, TimerFd};

/// How many clients may wait.
const WAITING: i32 = 16;
/// How long none is accepted after the host could not: it has no descriptor left, most likely, and would
/// say so again at once.
const PAUSE: Duration = Duration::from_secs(1);

const SOCKET: u64 = 0;
const TIMER: u64 = 1;

/// A listening socket, whose file goes with it. Only its user may connect (mode 0600).
///
/// Its descriptor is readable while a client waits that the host may be able to accept: where it was not,
/// for want of descriptors, it is asked again after a second.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// The socket, or the timer where the host could not accept.
    poller: Poller,
    timer: TimerFd,
    is_pausing: AtomicBool,
    /// `None` once the file is removed: another may have the name then.
    path: Option<PathBuf>,
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at `path`, in place of a socket that nobody listens on.
    ///
    /// # Errors
    /// The host's: no such folder, a path of more than 107 bytes, or another process listens there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = match make(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
                fs::remove_file(path)?;
                make(path)
            }
            other => other,
        }?;
        let mut listener = Self::of(socket)?;
        listener.identity = identity(path);
        listener.path = Some(path.to_owned());
        Ok(listener)
    }

    fn of(socket: UnixListener) -> io::Result<Self> {
        let (poller, timer) = (Poller::new()?, TimerFd::new()?);
        poller.add(&socket, SOCKET, Interest::Readable)?;
        poller.add(&timer, TIMER, Interest::Readable)?;
        Ok(Self {
            socket,
            poller,
            timer,
            is_pausing: AtomicBool::new(false),
            path: None,
            identity: None,
        })
    }

    /// Whether a socket can be made at `path`, of which nothing is changed.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn check(path: &Path) -> io::Result<()> {
        SocketAddrUnix::new(path)?;
        if fs::symlink_metadata(path).is_ok() && !is_left_over(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// The next client, if one waits and the host can accept it.
    pub fn accept(&self) -> Option<UnixStream> {
        // Ordering: only the thread that accepts uses it.
        if self.is_pausing.load(Ordering::Relaxed) {
            if !self.timer.drain() {
                return None;
            }
            self.pause(false);
        }
        match self.socket.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) => {
                let may_be_better_now = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                );
                if !may_be_better_now {
                    self.pause(true);
                    self.timer.arm_once(PAUSE);
                }
                None
            }
        }
    }

    fn pause(&self, pauses: bool) {
        // It fails for a descriptor that was not added only.
        let interest = Interest::of(!pauses, false);
        let _ = self.poller.change(&self.socket, SOCKET, interest);
        // Ordering: as of `accept`.
        self.is_pausing.store(pauses, Ordering::Relaxed);
    }

    /// Removes the file, unless another has taken its name: nobody finds the socket any more.
    pub fn remove_file(&mut self) {
        let path = self.path.take();
        if let Some(path) = path.filter(|path| identity(path) == self.identity) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The file's mode is that of the socket when it is bound (Linux's unix_bind), less the umask: at no
/// moment may others connect.
fn make(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, WAITING)?;
    Ok(socket.into())
}

/// Whether there is a socket of a process that has ended. One that does not accept is not waited for.
pub(crate) fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && FdSocket::connect(path, &Deadline::after(Duration::ZERO)).is_err_and(refused)
}

/// Which file it is.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_user_may_connect_and_the_file_goes_with_the_listener() {
        let path = std::env::temp_dir().join(format!("vmmkit-listener-{}", std::process::id()));
        let listener = Listener::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listener.accept().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_some());
        assert!(Listener::bind(&path).is_err(), "it is in use");
        drop(listener);
        assert!(!path.exists());
        // One that a process left behind is replaced.
        drop(UnixListener::bind(&path).unwrap());
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
        let path = std::env::temp_dir().join(format!("vmmkit-busy-{}", std::process::id()));
        let _listener = Listener::bind(&path).unwrap();
        let now = Deadline::after(Duration::ZERO);
        let mut waiting = Vec::new();
        while let Ok(client) = FdSocket::connect(&path, &now) {
            waiting.push(client);
            assert!(waiting.len() < 1000);
        }
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// A socket that is ready, and that the host cannot accept anybody from.
    fn refusing() -> (Listener, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (&other).write_all(b"x").unwrap();
        let socket = UnixListener::from(OwnedFd::from(one));
        (Listener::of(socket).unwrap(), other)
    }

    #[test]
    fn a_host_that_cannot_accept_is_not_asked_again_at_once() {
        let (listener, _other) = refusing();
        let poller = Poller::new().unwrap();
        poller.add(&listener, 7, Interest::Readable).unwrap();
        let mut ready = Vec::new();
        for _ in 0..2 {
            // The second time by the timer.
            poller.wait(&mut ready).unwrap();
            assert!(listener.accept().is_none());
            poller.look(&mut ready).unwrap();
            assert!(ready.is_empty(), "{ready:?}");
            assert!(listener.accept().is_none());
        }
    }
}
