//! A connection to a guest's port, as a program of the host makes it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use vmmkit_host_io::{Deadline, FdSocket};

/// The longest answer; "OK 4294967295\n" has 14 bytes.
const MAX: usize = 32;

/// The reason why there is no connection to a guest's port.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VsockConnectError {
    /// No device listens at the socket.
    #[error("no guest answers at its socket")]
    Socket(#[source] io::Error),
    /// Nobody in the guest listens on the port.
    #[error("nobody in the guest listens on port {0}")]
    Refused(u32),
    /// The guest did not answer in time, or the connection broke.
    #[error("the guest did not answer")]
    Transfer(#[source] io::Error),
    /// The answer is not that of a vsock device.
    #[error("the answer is not that of a vsock device")]
    Protocol,
}

/// Connects to `port` of the guest whose vsock device has its socket at `socket`. The guest has accepted when this
/// returns; it may take up to `patience`.
///
/// # Errors
/// [`VsockConnectError`].
pub fn connect_vsock(
    socket: &Path,
    port: u32,
    patience: Duration,
) -> Result<UnixStream, VsockConnectError> {
    let stream = FdSocket::connect(socket, &Deadline::after(patience));
    let mut stream = stream
        .map(FdSocket::into_stream)
        .map_err(VsockConnectError::Socket)?;
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(patience)))
        .and_then(|()| stream.write_all(format!("CONNECT {port}\n").as_bytes()))
        .map_err(VsockConnectError::Transfer)?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        // Byte by byte: what follows is not for here.
        match stream.read(&mut byte) {
            Ok(0) => return Err(VsockConnectError::Refused(port)),
            Ok(_) if line.len() < MAX => line.extend_from_slice(&byte),
            Ok(_) => return Err(VsockConnectError::Protocol),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(VsockConnectError::Refused(port));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let late = io::ErrorKind::TimedOut.into();
                return Err(VsockConnectError::Transfer(late));
            }
            Err(error) => return Err(VsockConnectError::Transfer(error)),
        }
    }
    if !line.starts_with(b"OK ") {
        return Err(VsockConnectError::Protocol);
    }
    stream
        .set_read_timeout(None)
        .map_err(VsockConnectError::Transfer)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The result against a device that answers `answer`, and what it was sent.
    fn answered(
        name: &str,
        answer: &'static [u8],
    ) -> (Result<Vec<u8>, VsockConnectError>, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("vsock-{name}-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let device = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; b"CONNECT 22\n".len()];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            asked
        });
        let connected = connect_vsock(&path, 22, Duration::from_secs(60)).map(|mut stream| {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        std::fs::remove_file(&path).unwrap();
        (connected, device.join().unwrap())
    }

    #[test]
    fn bytes_behind_the_answer_are_the_guest_s() {
        let (connected, asked) = answered("ok", b"OK 1073741824\nSSH-2.0");
        assert_eq!(asked, b"CONNECT 22\n");
        assert_eq!(connected.unwrap(), b"SSH-2.0");
    }

    #[test]
    fn refusals_and_strange_answers_are_told() {
        let of = |name, answer| answered(name, answer).0.unwrap_err();
        assert!(matches!(of("none", b""), VsockConnectError::Refused(22)));
        assert!(matches!(
            of("half", b"OK 1"),
            VsockConnectError::Refused(22)
        ));
        assert!(matches!(of("odd", b"NO 1\n"), VsockConnectError::Protocol));
        let long = b"OK 111111111111111111111111111111111111111111\n";
        assert!(matches!(of("long", long), VsockConnectError::Protocol));
        let nowhere = connect_vsock(Path::new("/nowhere"), 1, Duration::from_secs(1));
        assert!(matches!(nowhere, Err(VsockConnectError::Socket(_))));
    }
}
