//! Where the serial console is, and how it is opened.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use vmmkit_host_io::{OutputBuffer, Pollable, RawTerminal, TimerFd, open_pty};
use vmmkit_vmm::{Console, ConsoleInput};

use crate::failure::Failure;
use crate::messages;
use crate::remote::Remote;
use crate::stdin::{FdInput, Source};

/// The choices of `--serial`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SerialChoice {
    /// stdin and stdout.
    Stdio,
    /// Nowhere.
    Null,
    /// A new pseudo-terminal.
    Pty,
    /// Output to a file; no input.
    File(PathBuf),
}

impl FromStr for SerialChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let next = "give stdio, null, pty or file=PATH";
        match text.split_once('=') {
            None if text == "stdio" => Ok(Self::Stdio),
            None if text == "null" => Ok(Self::Null),
            None if text == "pty" => Ok(Self::Pty),
            None if text == "file" => Err(Failure::usage(
                "--serial file: the path is missing",
                "give file=PATH",
            )),
            Some(("file", "")) => Err(Failure::usage(
                "--serial file=: the path is empty",
                "give file=PATH",
            )),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("socket", _)) => Err(Failure::usage(
                format!("--serial {text}: this version cannot listen on a socket yet"),
                "use --serial pty, or stdio under a socket tool such as socat",
            )),
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
            Self::File(path) => write!(f, "file={}", path.display()),
        }
    }
}

impl SerialChoice {
    /// Opens the console; what a user types on it reaches the machine by `remote`,
    /// and `end` fires at the end of a pipe or file.
    pub(crate) fn open(
        &self,
        remote: &Arc<Remote>,
        end: &Arc<TimerFd>,
    ) -> Result<Console, Failure> {
        let failed = |error: io::Error| {
            let next = "check the path, its permissions and the space there";
            Failure::host(&format!("--serial {self}"), &error, next)
        };
        let (input, output) = match self {
            Self::Stdio => (
                stdin(remote, end).map_err(failed)?,
                Some(stdout().map_err(failed)?),
            ),
            Self::Null => (None, None),
            Self::Pty => pty("serial console")
                .map_err(failed)
                .map(|(input, output)| (input, Some(output)))?,
            Self::File(path) => (None, Some(File::create(path).map_err(failed)?.into())),
        };
        let output = output
            .map(OutputBuffer::new)
            .transpose()
            .map_err(failed)?
            .map(Arc::new);
        Ok(Console {
            input,
            output,
            on_first_output: None,
        })
    }
}

/// A console's input, where it has one.
pub(crate) type Input = Option<Box<dyn ConsoleInput>>;

/// stdin, with the keys of a terminal taken out; nothing for /dev/null.
pub(crate) fn stdin(remote: &Arc<Remote>, end: &Arc<TimerFd>) -> io::Result<Input> {
    let stdin = io::stdin();
    let source = match Pollable::kind(stdin.as_fd()) {
        Pollable::Null => return Ok(None),
        Pollable::Terminal => Source::terminal(remote.clone()),
        _ => Source::stream(end.clone()),
    };
    let fd = stdin.as_fd().try_clone_to_owned()?;
    Ok(Some(Box::new(FdInput::new(fd, source))))
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
    let input = FdInput::new(pty.master.try_clone()?, Source::device());
    Ok((Some(Box::new(input)), pty.master))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["stdio", "null", "pty", "file=/tmp/a=b"] {
            assert_eq!(text.parse::<SerialChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "tcp", "file", "file=", "socket=/x", "stdio=1", "STDIO"] {
            assert!(text.parse::<SerialChoice>().is_err(), "{text}");
        }
    }
}
