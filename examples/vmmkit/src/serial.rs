//! Where the serial console is, and how it is opened.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_host_io::{
    Console, ConsoleSocket, FdInput, InputSource, LostOutput, OutputBuffer, Pollable, RawTerminal,
    Sharing, TimerFd, open_pty,
};
use vmmkit_process::Keyboard;

use crate::failure::Failure;
use crate::files::{self, Outputs};
use crate::messages;
use crate::os_text;
use crate::remote::Remote;
use crate::stdin::StreamInput;

/// How long a reader may take nothing before the guest goes on without him; one on stdout has all the
/// time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The mode of a new file with what a guest writes to a console, less the umask.
pub(crate) const CONSOLE_MODE: u32 = 0o666;

/// The choices of `--serial`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SerialChoice {
    /// stdin and stdout.
    Stdio,
    /// Nowhere.
    Null,
    /// A new pseudo-terminal.
    Pty,
    /// Output to the end of a file; no input.
    File(PathBuf),
    /// A UNIX socket, to which clients come and from which they go.
    Socket(PathBuf),
}

impl FromStr for SerialChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let next = "give stdio, null, pty, file=PATH or socket=PATH";
        match text.split_once('=') {
            None if text == "stdio" => Ok(Self::Stdio),
            None if text == "null" => Ok(Self::Null),
            None if text == "pty" => Ok(Self::Pty),
            None if ["file", "socket"].contains(&text) => Err(Failure::usage(
                format!("--serial {text}: the path is missing"),
                format!("give {text}=PATH"),
            )),
            Some((kind @ ("file" | "socket"), "")) => Err(Failure::usage(
                format!("--serial {text}: the path is empty"),
                format!("give {kind}=PATH"),
            )),
            Some(("file", path)) => Ok(Self::File(os_text::path(path))),
            Some(("socket", path)) => Ok(Self::Socket(os_text::path(path))),
            _ => Err(Failure::usage(
                format!("--serial {text}: there is no such place"),
                next,
            )),
        }
    }
}

impl fmt::Display for SerialChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::Null => f.write_str("null"),
            Self::Pty => f.write_str("pty"),
            Self::File(path) => write!(f, "file={}", os_text::of_path(path)),
            Self::Socket(path) => write!(f, "socket={}", os_text::of_path(path)),
        }
    }
}

impl SerialChoice {
    /// The path of its socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            _ => None,
        }
    }
}

/// An open console, and the socket that clients of it come to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) console: Console,
    pub(crate) socket: Option<ConsoleSocket>,
}

impl SerialChoice {
    /// Opens the console; what a user types on it reaches the machine by `remote`,
    /// and `end` fires at the end of a pipe or file.
    pub(crate) fn open(
        &self,
        remote: &Arc<Remote>,
        end: &Arc<TimerFd>,
        outputs: &Outputs,
    ) -> Result<Opened, Failure> {
        let failed =
            |error: io::Error| Failure::host(&format!("--serial {self}"), &error, files::NEXT);
        let (input, output, socket) = self.ends(remote, end, outputs).map_err(failed)?;
        let may_be_unread = matches!(self, Self::Pty | Self::Socket(_) | Self::File(_));
        let buffer = |fd| {
            let buffer = OutputBuffer::new(fd)?;
            Ok(Arc::new(match may_be_unread {
                true => buffer.with_patience(PATIENCE),
                false => buffer,
            }))
        };
        let output = output.map(buffer).transpose().map_err(failed)?;
        if let (Self::Stdio, Some(output)) = (self, &output) {
            remote.stamp(output.clone());
        }
        let place = match self {
            Self::Stdio => "stdout".to_owned(),
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
        &self,
        remote: &Arc<Remote>,
        end: &Arc<TimerFd>,
        outputs: &Outputs,
    ) -> io::Result<(Input, Option<OwnedFd>, Option<ConsoleSocket>)> {
        Ok(match self {
            Self::Stdio => (stdin(remote, end)?, Some(stdout()?), None),
            Self::Null => (None, None, None),
            Self::Pty => {
                let (input, output) = pty("serial console")?;
                (input, Some(output), None)
            }
            Self::File(path) => {
                let file = outputs.open(path, Sharing::Alone, CONSOLE_MODE)?;
                (None, Some(file.into()), None)
            }
            Self::Socket(path) => {
                let (socket, end) = ConsoleSocket::listen(path)?;
                let input = FdInput::new(end.try_clone()?);
                (Some(Box::new(input)), Some(end), Some(socket))
            }
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["stdio", "null", "pty", "file=/tmp/a=b", "socket=/tmp/s"] {
            assert_eq!(text.parse::<SerialChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "tcp", "file", "file=", "socket=", "stdio=1", "STDIO"] {
            assert!(text.parse::<SerialChoice>().is_err(), "{text}");
        }
    }
}
