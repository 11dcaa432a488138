//! The process that a machine is assembled in, as its consoles and devices see it.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use vmmkit_host_io::{FdInput, InputSource, LostOutput, Pollable};
use vmmkit_machine_spec::{Field, ForwardSpec};

/// A console's input, where it has one.
pub type Input = Option<Box<dyn InputSource>>;

/// The process's own streams, and whoever is told of what happens to consoles and devices.
pub trait Host: Send + Sync {
    /// The input of a console on stdio; at most one asks for it. `None` where there is no input.
    ///
    /// # Errors
    /// The host's.
    fn stdin(&self) -> io::Result<Input>;

    /// The output of a console on stdio.
    ///
    /// # Errors
    /// The host's.
    fn stdout(&self) -> io::Result<OwnedFd>;

    /// Writes bytes that the guest has sent to a debug port on stderr. A vCPU thread calls it: it must not block
    /// for long.
    fn stderr(&self, bytes: &[u8]);

    /// A socket to a process that is the network of the interface `field`, without a privilege, and speaks the protocol of
    /// passt(1): frames behind their length. Ports of the host lead to the guest as `forward` says.
    ///
    /// # Errors
    /// The host's. One that has no such process is [`Unsupported`](io::ErrorKind::Unsupported), unless it is implemented.
    fn user_network(&self, field: Field, forward: &[ForwardSpec]) -> io::Result<UnixStream> {
        let _ = (field, forward);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reports `notice`. It comes from the caller's thread while the machine is assembled, and later from those
    /// of consoles and devices.
    fn report(&self, notice: &Notice<'_>);
}

/// Something to know of a field of the specification; the machine goes on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Notice<'a> {
    /// The field.
    pub field: Field,
    /// The subject.
    pub kind: NoticeKind<'a>,
}

/// The subject of a [`Notice`].
#[derive(Debug)]
#[non_exhaustive]
pub enum NoticeKind<'a> {
    /// The console is this pseudo-terminal.
    Pty(&'a Path),
    /// Output of the guest is lost, for the first time.
    OutputLost(&'a LostOutput),
    /// The disk is a CD image, which the guest can only read.
    CdImage,
    /// The host refused a request of the disk's.
    DiskFailed(&'a str),
    /// The other end of the network is gone, and the guest's link is down for good.
    LinkLost(&'a str),
    /// The interface has another MTU than the guest is told.
    Mtu {
        /// The guest's, in bytes.
        guest: u16,
        /// The interface's, in bytes.
        host: u16,
    },
}

impl<'a> Notice<'a> {
    pub(crate) fn new(field: Field, kind: NoticeKind<'a>) -> Self {
        Self { field, kind }
    }
}

/// The streams of this process as they are; notices go nowhere. The keys of a terminal are the guest's without
/// exception, and the terminal is left in the mode that it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainStreams;

impl Host for PlainStreams {
    fn stdin(&self) -> io::Result<Input> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(match Pollable::kind(fd.as_fd()) {
            Pollable::Null => None,
            _ => Some(Box::new(FdInput::new(fd))),
        })
    }

    fn stdout(&self) -> io::Result<OwnedFd> {
        io::stdout().as_fd().try_clone_to_owned()
    }

    fn stderr(&self, bytes: &[u8]) {
        // Where stderr is closed nobody reads them.
        let _ = io::stderr().write_all(bytes);
    }

    fn report(&self, _: &Notice<'_>) {}
}
