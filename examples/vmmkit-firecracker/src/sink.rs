//! The files and FIFOs that a client names for lines: nobody waits for their reader.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// A file or FIFO that lines are added to.
#[derive(Debug)]
pub struct Sink {
    file: File,
    /// Lines that nobody took.
    lost: u64,
}

impl Sink {
    /// Opens `path`, or makes the file. A FIFO needs no reader yet.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &str) -> io::Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(nonblocking).unwrap_or_default())
            .open(path)?;
        Ok(Self { file, lost: 0 })
    }

    /// Adds a line, whole, or loses it where its reader has no room.
    pub fn add(&mut self, line: &str) {
        if self.file.write_all(line.as_bytes()).is_err() {
            self.lost += 1;
        }
    }

    /// The lines that were lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}
