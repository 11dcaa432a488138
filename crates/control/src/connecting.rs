//! Connecting to a socket without waiting for a process that does not accept.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// How often a full backlog is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Connects to whoever listens at `path`. While too many others wait there it is tried again, for `patience`:
/// a connect(2) that blocks would wait for as long as the process is stopped.
///
/// # Errors
/// The host's; [`TimedOut`](io::ErrorKind::TimedOut) where the backlog stays full.
pub(crate) fn connect_within(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let deadline = Instant::now() + patience;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            // A full backlog (connect(2)); poll(2) does not tell of room in it.
            Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(RETRY),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;
    use crate::fake::Folder;

    #[test]
    fn a_process_that_does_not_accept_is_not_waited_for() {
        let folder = Folder::new();
        let path = folder.path().join("busy");
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect_within(&path, Duration::ZERO) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 10);
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!waiting.is_empty());
    }
}
