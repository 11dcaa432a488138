//! A disk that goes from one process to another, with a guest that does.

use std::io;

use super::{Block, BlockError};

impl Block {
    /// Makes durable what the guest has written, and gives up the lock of the disk: another process may have it. The
    /// device must be at rest, and stay so until [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// The host's: the disk may still be locked, or not; `take_back` is to follow.
    pub fn give_up(&self) -> io::Result<()> {
        let disk = &self.shared.disk;
        if !disk.is_read_only() {
            disk.write_back()?;
            disk.flush()?;
        }
        disk.unlock()
    }

    /// Locks the disk again: the guest goes on here.
    ///
    /// # Errors
    /// [`BlockError::Locked`]: another process has it, and may have written to it.
    pub fn take_back(&self) -> Result<(), BlockError> {
        self.shared.disk.lock_again()
    }
}
