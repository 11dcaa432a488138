//! The serial console of a machine.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vmmkit_host_io::{Console, ConsoleSocket, ConsoleTap, FdInput, OutputBuffer, Sharing};
use vmmkit_machine_spec::{ConsoleSpec, Field};

use crate::consoles::{CONSOLE_MODE, PATIENCE, pty, tapped};
use crate::{Host, Input, Notice, NoticeKind, Outputs};

/// An open console, and the socket that clients of it come to.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) console: Console,
    pub(crate) socket: Option<ConsoleSocket>,
}

/// Opens the serial console at `place`, with `tap` on it.
pub(crate) fn open(
    place: &ConsoleSpec,
    host: &Arc<dyn Host>,
    outputs: &Outputs,
    tap: Option<&Arc<ConsoleTap>>,
) -> io::Result<Opened> {
    let (input, output, socket) = ends(place, &**host, outputs)?;
    let types = *place == ConsoleSpec::Stdio;
    let input = tapped(input, types, tap)?;
    let may_be_unread = matches!(
        place,
        ConsoleSpec::Pty | ConsoleSpec::Socket(_) | ConsoleSpec::File(_)
    );
    let buffer = |fd| {
        let buffer = OutputBuffer::new(fd)?;
        io::Result::Ok(Arc::new(match may_be_unread {
            true => buffer.with_patience(PATIENCE),
            false => buffer,
        }))
    };
    let host = host.clone();
    let console = Console {
        input,
        output: output.map(buffer).transpose()?,
        tap: tap.cloned(),
        on_first_output: None,
        on_lost_output: Some(Box::new(move |lost| {
            host.report(&Notice::new(Field::Serial, NoticeKind::OutputLost(&lost)));
        })),
    };
    Ok(Opened { console, socket })
}

fn ends(
    place: &ConsoleSpec,
    host: &dyn Host,
    outputs: &Outputs,
) -> io::Result<(Input, Option<OwnedFd>, Option<ConsoleSocket>)> {
    Ok(match place {
        ConsoleSpec::Stdio => (host.stdin()?, Some(host.stdout()?), None),
        ConsoleSpec::Null => (None, None, None),
        ConsoleSpec::Pty => {
            let (input, output) = pty(Field::Serial, host)?;
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
