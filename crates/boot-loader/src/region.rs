//! A part of a file, which is what kernels and RAM disks are read from: a whole file, or a section
//! of one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use vmmkit_guest_memory::{GuestAddress, GuestRam};

/// A range of a file. Offsets count from its start; nothing beyond its end is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    file: &'a File,
    start: u64,
    size: u64,
}

impl<'a> Region<'a> {
    /// `size` bytes of `file` from `start` on.
    pub(crate) fn new(file: &'a File, start: u64, size: u64) -> Self {
        Self { file, start, size }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// `size` bytes of it, from `start` on.
    pub(crate) fn part(&self, start: u64, size: u64) -> Self {
        let start_in_file = self.start.saturating_add(start);
        let size = size.min(self.size.saturating_sub(start));
        Self::new(self.file, start_in_file, size)
    }

    /// Fills `bytes` from `offset`.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(bytes.len() as u64) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let offset = self.start.saturating_add(offset);
        self.file.read_exact_at(bytes, offset)
    }

    /// The bytes from `offset` on, at most `length`, and fewer where it ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(offset, length as u64)?
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A reader of the bytes from `offset` on, at most `length`.
    pub(crate) fn reader(&self, offset: u64, length: u64) -> io::Result<impl Read + 'a> {
        let left = self.size.saturating_sub(offset);
        let offset = self.start.saturating_add(offset);
        let mut file = self.file;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.take(left.min(length)))
    }

    /// Copies `length` bytes from `offset` to `address`: the host's kernel does it.
    pub(crate) fn copy_to(
        &self,
        offset: u64,
        length: u64,
        ram: &GuestRam,
        address: GuestAddress,
    ) -> io::Result<()> {
        if offset.saturating_add(length) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let offset = self.start.saturating_add(offset);
        let mut file = self.file;
        file.seek(SeekFrom::Start(offset))?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        ram.read_volatile_from(&mut file, address, length)
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file_of;

    #[test]
    fn nothing_beyond_a_part_is_read() {
        let file = file_of(b"0123456789");
        let all = Region::new(&file, 1, 8);
        assert_eq!(all.bytes(2, 3).unwrap(), b"345");
        let part = all.part(2, 100);

        assert_eq!(part.size(), 6);
        assert_eq!(part.bytes(4, 100).unwrap(), b"78");
        assert_eq!(part.bytes(40, 100).unwrap(), b"");
        assert!(part.read_at(5, &mut [0; 2]).is_err());
        assert!(part.read_at(u64::MAX, &mut [0; 2]).is_err());
    }
}
