//! The host's end of a port, as it is made.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use vmmkit_host_io::{InputSource, Listener, LostOutput, Sink};

use super::wire::Wire;

/// A port of a console and what is at the host's end of it.
pub struct Port {
    pub(super) name: String,
    pub(super) is_console: bool,
    pub(super) wire: Wire,
}

impl Port {
    /// A port with nothing at it: output vanishes.
    pub fn null() -> Self {
        Self::of(Wire::default())
    }

    /// A port at descriptors: a terminal, a pseudo-terminal, a pipe, a file. `input` is read on the device's
    /// thread. A slow reader slows the guest, and no byte is lost; when the reader has gone away, output
    /// vanishes. Without `output` it vanishes from the start. One that takes nothing for long stops a vCPU of Linux, whose
    /// `hvc` driver spins until its output was taken.
    pub fn streams(input: Option<Box<dyn InputSource>>, output: Option<OwnedFd>) -> Self {
        Self::of(Wire::streams(input, output.map(Sink::new)))
    }

    /// A port at a UNIX socket that is made at `path`, and removed with the device. One client has it
    /// at a time; others wait until he leaves. The last 64 KiB that the guest writes while there is
    /// nobody are kept for the next one. A socket there that nobody listens on is replaced.
    ///
    /// # Errors
    /// The host's: no such folder, or another process listens there.
    pub fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self::of(Wire::listening(Listener::bind(path)?)))
    }

    /// The same port for a reader who may not be there, or may not read: one who takes nothing for
    /// `limit` does not hold up the guest any longer. Of what he has not taken the last 64 KiB are kept.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn with_patience(mut self, limit: Duration) -> io::Result<Self> {
        self.wire.set_patience(limit)?;
        Ok(self)
    }

    /// The same port with a name, by which the guest finds it: `/dev/virtio-ports/NAME`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same port as a console, which a guest may have a login on. The first port always is one.
    #[must_use]
    pub fn console(mut self) -> Self {
        self.is_console = true;
        self
    }

    /// The same port, whose output `ear` hears too, on the device's thread. It waits for nothing.
    #[must_use]
    pub fn heard_by(mut self, ear: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.wire.ear = Some(Box::new(ear));
        self
    }

    /// The same port, which calls `tell` when output is lost for the first time, on the device's thread. What
    /// is dropped where clients come and go, and none is there, is not a loss.
    #[must_use]
    pub fn on_lost_output(mut self, tell: impl FnOnce(LostOutput) + Send + Sync + 'static) -> Self {
        self.wire.on_lost_output = Some(Box::new(tell));
        self
    }

    fn of(wire: Wire) -> Self {
        Self {
            name: String::new(),
            is_console: false,
            wire,
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("name", &self.name)
            .field("is_console", &self.is_console)
            .field("wire", &self.wire)
            .finish()
    }
}
