//! This process's stdin and stdout as the ends of a connection.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use vmmkit_host_io::{ThreadRole, ThreadSpec};

/// The bytes of one piece.
const PIECE: usize = 64 << 10;

/// Passes stdin to `stream`, and `stream` to stdout until its end. The end of stdin is passed on.
///
/// # Errors
/// The host's. A reader of stdout may go away: that is the end.
pub fn relay_stdio(stream: UnixStream) -> io::Result<()> {
    let to_stream = stream.try_clone()?;
    // It ends with the process where stdin has no end.
    ThreadSpec::new(ThreadRole::Helper, "stdin").spawn(move || {
        // Where the other end takes no more, its end is on its way.
        let _ = pass(io::stdin().lock(), &to_stream);
        let _ = to_stream.shutdown(Shutdown::Write);
    })?;
    match pass(&stream, io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        // The guest is gone.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        passed => passed,
    }
}

fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(bytes.get(..count).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
