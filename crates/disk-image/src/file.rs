//! Files, and what can be read as one.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::ImageError;

/// Bytes that are read from any place, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Fills `bytes` with what is at `offset`.
    ///
    /// # Errors
    /// The host's; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// The number of bytes.
    ///
    /// # Errors
    /// The host's.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        // Files and block devices alike; nobody uses the position.
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        let there = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Fills `bytes` with what is at `offset`; after the end are zeroes: the last cluster of a file may be cut.
pub(crate) fn read_with_zeroes(
    file: &impl ReadAt,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    match file.read_exact_at(bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        done => return done,
    }
    let there = file.size()?.saturating_sub(offset);
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let (read, zeroes) = bytes.split_at_mut(there.min(bytes.len()));
    zeroes.fill(0);
    file.read_exact_at(read, offset)
}

/// `N` bytes of `what` at `offset`.
pub(crate) fn array<const N: usize>(
    file: &impl ReadAt,
    what: &'static str,
    offset: u64,
) -> Result<[u8; N], ImageError> {
    check_within(file, what, offset, N as u64)?;
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// `length` bytes of `what` at `offset`, as many as the file has room for.
pub(crate) fn bytes(
    file: &impl ReadAt,
    what: &'static str,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, ImageError> {
    check_within(file, what, offset, length)?;
    let length = usize::try_from(length).map_err(|_| ImageError::Field {
        what,
        value: length,
    })?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// `what` of `length` bytes at `offset` must lie in the file.
pub(crate) fn check_within(
    file: &impl ReadAt,
    what: &'static str,
    offset: u64,
    length: u64,
) -> Result<(), ImageError> {
    let (end, size) = (offset.saturating_add(length), file.size()?);
    match end <= size {
        true => Ok(()),
        false => Err(ImageError::Beyond { what, end, size }),
    }
}
