//! Requests of the back end ("Back-end message types").

use std::io;
use std::time::Duration;

use vmmkit_host_io::{Deadline, FdSocket};

use super::message::{Header, message};
use super::spec;

/// The most bytes of a request that are read; the largest one there is has far fewer.
const MAX: usize = 256;
/// A request comes as a whole; one that does not holds up interrupts for so long, once.
const LIMIT: Duration = Duration::from_millis(100);

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The configuration is to be read again.
    ConfigChanged,
    /// A request that is not known here, and was answered so.
    Unknown,
}

/// Takes the next request and answers it.
///
/// # Errors
/// The host's; `InvalidData` where it is not a request.
pub(super) fn answer(socket: &FdSocket) -> io::Result<Outcome> {
    let deadline = Deadline::after(LIMIT);
    // What comes along is closed.
    let mut fds = Vec::new();
    let mut header = [0; Header::BYTES];
    socket.receive(&mut header, &mut fds, &deadline)?;
    let header = Header::parse(&header);
    let mut payload = [0; MAX];
    let size = usize::try_from(header.size).unwrap_or(usize::MAX);
    let payload = payload.get_mut(..size).ok_or(io::ErrorKind::InvalidData)?;
    socket.receive(payload, &mut fds, &deadline)?;
    let outcome = match header.request {
        spec::BACKEND_CONFIG_CHANGE_MSG => Outcome::ConfigChanged,
        _ => Outcome::Unknown,
    };
    if header.flags & spec::NEED_REPLY != 0 {
        let code = u64::from(outcome == Outcome::Unknown).to_ne_bytes();
        let flags = spec::VERSION | spec::REPLY;
        socket.send(&message(header.request, flags, &code), &[], &deadline)?;
    }
    Ok(outcome)
}
