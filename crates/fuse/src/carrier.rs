//! The memory that messages come from and answers go to.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{pread, pwrite};

/// A message of the guest's, read once from front to back.
pub trait Input {
    /// Bytes that are left.
    fn left(&self) -> u64;

    /// Reads up to `bytes.len()` bytes; how many.
    fn read(&mut self, bytes: &mut [u8]) -> usize;

    /// Writes up to `length` of the bytes that are left to `file` at `offset`; how many were taken, which may be
    /// fewer.
    ///
    /// # Errors
    /// The host's (pwrite(2)).
    fn write_to(&mut self, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32>;
}

/// The room for an answer.
pub trait Output {
    /// Bytes of room in all.
    fn room(&self) -> u64;

    /// Writes `bytes` at `at` as far as there is room.
    fn write(&mut self, at: u64, bytes: &[u8]);

    /// Fills up to `length` bytes from `at` on with those of `file` at `offset`; how many there were, which may be
    /// fewer: 0 at the end of the file, or where there is no room.
    ///
    /// # Errors
    /// The host's (pread(2)).
    fn fill(&mut self, at: u64, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32>;
}

impl Input for &[u8] {
    fn left(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        let length = bytes.len().min(self.len());
        let (first, rest) = self.split_at_checked(length).unwrap_or_default();
        if let Some(bytes) = bytes.get_mut(..length) {
            bytes.copy_from_slice(first);
        }
        *self = rest;
        length
    }

    fn write_to(&mut self, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32> {
        let length = self.len().min(length as usize);
        let written = pwrite(file, self.get(..length).unwrap_or_default(), offset)?;
        *self = self.get(written..).unwrap_or_default();
        Ok(u32::try_from(written).unwrap_or(length as u32))
    }
}

impl Output for &mut [u8] {
    fn room(&self) -> u64 {
        self.len() as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let room = self.get_mut(at..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    fn fill(&mut self, at: u64, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let room = self.get_mut(at..).unwrap_or_default();
        let length = room.len().min(length as usize);
        let read = pread(file, room.get_mut(..length).unwrap_or_default(), offset)?;
        Ok(u32::try_from(read).unwrap_or(u32::MAX))
    }
}
