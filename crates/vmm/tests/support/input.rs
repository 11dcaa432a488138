//! The console's input, from any descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vmmkit_host_io::{InputRead, read_ready};
use vmmkit_vmm::{ConsoleInput, ConsoleRead};

/// Bytes of a descriptor, as they are.
pub(crate) struct Piped(OwnedFd);

impl Piped {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Piped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ConsoleInput for Piped {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<ConsoleRead> {
        Ok(match read_ready(self.as_fd(), bytes)? {
            InputRead::Bytes(length) => ConsoleRead::Bytes(length),
            InputRead::NotReady => ConsoleRead::NotReady,
            InputRead::End => ConsoleRead::End,
        })
    }
}
