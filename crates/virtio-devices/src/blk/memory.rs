//! A disk in memory: the twin of a file, for tests and for what need not last.

use std::fmt;
use std::io;
use std::ops::Range;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::Disk;

/// A disk in memory.
pub struct MemoryDisk {
    bytes: RwLock<Vec<u8>>,
    is_read_only: bool,
}

impl MemoryDisk {
    /// A disk of `size` zero bytes.
    pub fn new(size: usize) -> Self {
        Self::from(vec![0; size])
    }

    /// The same disk, read-only.
    pub fn read_only(self) -> Self {
        Self {
            is_read_only: true,
            ..self
        }
    }

    /// Its contents.
    pub fn contents(&self) -> Vec<u8> {
        self.shared().clone()
    }

    /// Makes it larger, with zeroes, or smaller.
    pub fn resize(&self, size: usize) {
        self.exclusive().resize(size, 0);
    }

    fn shared(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        self.bytes.read()
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Vec<u8>> {
        self.bytes.write()
    }
}

impl From<Vec<u8>> for MemoryDisk {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RwLock::new(bytes),
            is_read_only: false,
        }
    }
}

impl Disk for MemoryDisk {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.shared().len() as u64)
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.resize(size);
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        let bytes = self.shared();
        let mut at = offset;
        for segment in segments {
            let range = range(at, segment.length.into())?;
            let part = bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
            ram.write_bytes(segment.address, part)
                .map_err(io::Error::other)?;
            at += u64::from(segment.length);
        }
        Ok(())
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        let mut bytes = self.exclusive();
        let mut at = offset;
        for segment in segments {
            let range = range(at, segment.length.into())?;
            let part = bytes.get_mut(range).ok_or(io::ErrorKind::StorageFull)?;
            ram.read_bytes(segment.address, part)
                .map_err(io::Error::other)?;
            at += u64::from(segment.length);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_zeroes(offset, length, true)
    }

    fn write_zeroes(&self, offset: u64, length: u64, _unmap: bool) -> io::Result<()> {
        let mut bytes = self.exclusive();
        let part = bytes.get_mut(range(offset, length)?);
        part.ok_or(io::ErrorKind::StorageFull)?.fill(0);
        Ok(())
    }
}

fn range(offset: u64, length: u64) -> io::Result<Range<usize>> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let start = usize::try_from(offset).map_err(invalid)?;
    let end = usize::try_from(offset.saturating_add(length)).map_err(invalid)?;
    Ok(start..end)
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk")
            .field("size", &self.shared().len())
            .field("is_read_only", &self.is_read_only)
            .finish_non_exhaustive()
    }
}
