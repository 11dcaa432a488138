//! Pseudo-terminals.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Both ends of a new pseudo-terminal (pty(7)), closed on exec. Neither becomes the controlling
/// terminal of this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pty {
    /// The end that plays the hardware. O_NONBLOCK is not set.
    pub master: OwnedFd,
    /// The end that is a terminal. While any process holds it open the master is not hung up.
    pub slave: OwnedFd,
    /// The terminal's path: `/dev/pts/N`.
    pub path: PathBuf,
}

/// Makes a new pseudo-terminal, in the kernel's default (cooked) mode.
///
/// # Errors
/// The host's: no /dev/ptmx, no devpts, or no terminal left.
pub fn open_pty() -> io::Result<Pty> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty())?;
    Ok(Pty {
        master,
        slave,
        path: PathBuf::from(name.to_string_lossy().into_owned()),
    })
}

impl Pty {
    /// Makes reads and writes of the master fail with EAGAIN instead of waiting.
    ///
    /// # Errors
    /// The host's; none is known for a pseudo-terminal.
    pub fn into_nonblocking(self) -> io::Result<Self> {
        let flags = fcntl_getfl(&self.master)?;
        fcntl_setfl(&self.master, flags | OFlags::NONBLOCK)?;
        Ok(self)
    }
}
