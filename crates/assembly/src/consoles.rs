//! The ends that consoles have in common.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use vmmkit_host_io::{ConsoleTap, FdInput, RawTerminal, open_pty};
use vmmkit_machine_spec::Field;

use crate::{Host, Input, Notice, NoticeKind};

/// How long a reader may take nothing before the guest goes on without it; one on stdout has all the time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The mode of a new file with what a guest writes to a console, less the umask.
pub(crate) const CONSOLE_MODE: u32 = 0o666;

/// The input of a console with `tap` on it. Where `own` `types`, as one on stdio does, a writer at the tap has to take
/// over from it.
pub(crate) fn tapped(own: Input, types: bool, tap: Option<&Arc<ConsoleTap>>) -> io::Result<Input> {
    Ok(match tap {
        Some(tap) => Some(tap.input(own, types)?),
        None => own,
    })
}

/// A pseudo-terminal in raw mode for the console of `field`, whose path is reported. Its other end stays open
/// here, so that one user may leave and another come; output waits for the one who comes.
pub(crate) fn pty(field: Field, host: &dyn Host) -> io::Result<(Input, OwnedFd)> {
    let pty = open_pty()?.into_nonblocking()?;
    if let Some(raw) = RawTerminal::enter(pty.slave.as_fd())? {
        // Never restored: it ends with this process.
        mem::forget(raw);
    }
    host.report(&Notice::new(field, NoticeKind::Pty(&pty.path)));
    let input = FdInput::new(pty.master.try_clone()?);
    Ok((Some(Box::new(input)), pty.master))
}
