//! Where the serial console is, and how it is opened.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vmmkit_host_io::{
    Console, ConsoleSocket, FdInput, InputSource, LostOutput, OutputBuffer, Pollable, RawTerminal,
    Sharing, TimerFd, open_pty,
};
use vmmkit_machine_spec::ConsoleSpec;
use vmmkit_process::Keyboard;

use crate::failure::Failure;
use crate::files::{self, Outputs};
use crate::messages;
use crate::remote::Remote;
use crate::stdin::StreamInput;

/// How long a reader may take nothing before the guest goes on without him; one on stdout has all the
/// time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The mode of a new file with what a guest writes to a console, less the umask.
pub(crate) const CONSOLE_MODE: u32 = 0o666;

/// An open console, and the socket that clients of it come to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) console: Console,
    pub(crate) socket: Option<ConsoleSocket>,
}

/// Opens the serial console at `place`; what a user types on it reaches the machine by `remote`,
/// and `end` fires at the end of a pipe or file.
pub(crate) fn open(
    place: &ConsoleSpec,
    remote: &Arc<Remote>,
    end: &Arc<TimerFd>,
    outputs: &Outputs,
) -> Result<Opened, Failure> {
    let failed = |error: io::Error| {
        let next = files::next_of(place);
        Failure::host(&format!("--serial {place}"), &error, next)
    };
    let (input, output, socket) = ends(place, remote, end, outputs).map_err(failed)?;
    let may_be_unread = matches!(
        place,
        ConsoleSpec::Pty | ConsoleSpec::Socket(_) | ConsoleSpec::File(_)
    );
    let buffer = |fd| {
        let buffer = OutputBuffer::new(fd)?;
        Ok(Arc::new(match may_be_unread {
            true => buffer.with_patience(PATIENCE),
            false => buffer,
        }))
    };
    let output = output.map(buffer).transpose().map_err(failed)?;
    if let (ConsoleSpec::Stdio, Some(output)) = (place, &output) {
        remote.stamp(output.clone());
    }
    let place = match place {
        ConsoleSpec::Stdio => "stdout".to_owned(),
        other => format!("--serial {other}"),
    };
    let console = Console {
        input,
        output,
        on_first_output: None,
        on_lost_output: Some(Box::new(move |lost| say_lost(&place, &lost))),
    };
    Ok(Opened { console, socket })
}

fn ends(
    place: &ConsoleSpec,
    remote: &Arc<Remote>,
    end: &Arc<TimerFd>,
    outputs: &Outputs,
) -> io::Result<(Input, Option<OwnedFd>, Option<ConsoleSocket>)> {
    Ok(match place {
        ConsoleSpec::Stdio => (stdin(remote, end)?, Some(stdout()?), None),
        ConsoleSpec::Null => (None, None, None),
        ConsoleSpec::Pty => {
            let (input, output) = pty("serial console")?;
            (input, Some(output), None)
        }
        ConsoleSpec::File(path) => {
            let file = outputs.open(path, Sharing::Alone, CONSOLE_MODE)?;
            (None, Some(file.into()), None)
        }
        ConsoleSpec::Socket(path) => {
            let (socket, end) = ConsoleSocket::listen(path)?;
            let input = FdInput::new(end.try_clone()?);
            (Some(Box::new(input)), Some(end), Some(socket))
        }
    })
}

/// Output of a guest is never lost in silence; the guest goes on.
pub(crate) fn say_lost(place: &str, lost: &LostOutput) {
    match lost {
        LostOutput::NoReader => messages::say(&format!(
            "warning: {place}: nobody reads it any more; the guest goes on, and its output is dropped"
        )),
        LostOutput::NotRead => messages::say(&format!(
            "warning: {place}: nobody reads it; the guest goes on, and the last 64 KiB are kept"
        )),
        LostOutput::Failed(error) => messages::say(&format!(
            "warning: {place}: {error}; the guest goes on, and some of its output is lost"
        )),
    }
}

/// A console's input, where it has one.
pub(crate) type Input = Option<Box<dyn InputSource>>;

/// stdin, with the keys of a terminal taken out; nothing for /dev/null.
pub(crate) fn stdin(remote: &Arc<Remote>, end: &Arc<TimerFd>) -> io::Result<Input> {
    let stdin = io::stdin();
    let fd = stdin.as_fd().try_clone_to_owned()?;
    Ok(match Pollable::kind(fd.as_fd()) {
        Pollable::Null => None,
        Pollable::Terminal => {
            let keys = remote.clone();
            let act = Box::new(move |command| keys.act(command));
            let (keyboard, input) = Keyboard::new(fd, remote.job().clone(), act)?;
            remote.type_on(keyboard);
            Some(Box::new(input))
        }
        _ => Some(Box::new(StreamInput::new(fd, end.clone()))),
    })
}

/// stdout, to keep.
pub(crate) fn stdout() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// A pseudo-terminal in raw mode, whose path is told. Its other end stays open here, so that one
/// user may leave and another come; output waits for the one who comes.
pub(crate) fn pty(what: &str) -> io::Result<(Input, OwnedFd)> {
    let pty = open_pty()?.into_nonblocking()?;
    if let Some(raw) = RawTerminal::enter(pty.slave.as_fd())? {
        // Never restored: it ends with this process.
        std::mem::forget(raw);
    }
    messages::say(&format!("{what}: {}", pty.path.display()));
    let input = FdInput::new(pty.master.try_clone()?);
    Ok((Some(Box::new(input)), pty.master))
}
