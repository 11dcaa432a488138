//! An image of any format: a table of blocks.

use std::fmt;
use std::io;

use parking_lot::Mutex;

use crate::grains::Grains;
use crate::layout::{Layout, Opened};
use crate::place::Place;
use crate::{ImageError, ReadAt, vdi, vhd, vmdk};

/// The format of an image. It is the caller's to say: what an image begins with, the guest of a raw disk can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// VirtualBox's.
    Vdi,
    /// Of Virtual PC and Hyper-V, before VHDX.
    Vhd,
    /// VMware's.
    Vmdk,
}

/// An image that is read.
pub struct DiskImage<F> {
    file: F,
    opened: Opened,
    /// The block that was decompressed last, by its number.
    last: Mutex<Option<(u64, Vec<u8>)>>,
}

impl<F: ReadAt> DiskImage<F> {
    /// Reads the headers of the image in `file`, which is of `format`.
    ///
    /// # Errors
    /// [`ImageError`]: the host's reason, or the field at fault with its value.
    pub fn open(file: F, format: Format) -> Result<Self, ImageError> {
        let opened = match format {
            Format::Vdi => vdi::open(&file)?,
            Format::Vhd => vhd::open(&file)?,
            Format::Vmdk => vmdk::open(&file)?,
        };
        Ok(Self {
            file,
            opened,
            last: Mutex::new(None),
        })
    }

    /// Bytes of the disk, a multiple of 512.
    pub fn size(&self) -> u64 {
        self.opened.size
    }

    /// Fills `bytes` with what the disk has at `offset`.
    ///
    /// # Errors
    /// The host's; [`io::ErrorKind::UnexpectedEof`] beyond the end of the disk, and where the image says that
    /// something is beyond the end of the file; [`io::ErrorKind::InvalidData`] where a block cannot be decompressed.
    pub fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.opened.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (number, within) = (at / self.opened.block, at % self.opened.block);
            let length = (self.opened.block - within).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(length as usize);
            self.read_block(part, number, within)?;
            at += length;
            rest = after;
        }
        Ok(())
    }

    /// Fills `bytes` with what is `within` bytes into block `number`, which has all of it.
    fn read_block(&self, bytes: &mut [u8], number: u64, within: u64) -> io::Result<()> {
        match self.place(number)? {
            Place::Nowhere => {
                bytes.fill(0);
                Ok(())
            }
            Place::At(at) => {
                let at = at.checked_add(within).ok_or(io::ErrorKind::UnexpectedEof)?;
                self.file.read_exact_at(bytes, at)
            }
            Place::Compressed(at) => self.read_compressed(bytes, number, within, at),
        }
    }

    fn place(&self, number: u64) -> io::Result<Place> {
        Ok(match &self.opened.layout {
            Layout::Flat(start) => {
                let at = number.checked_mul(self.opened.block);
                let at = at.and_then(|at| at.checked_add(*start));
                Place::At(at.ok_or(io::ErrorKind::UnexpectedEof)?)
            }
            Layout::Table(table) => table.place(number),
            Layout::Grains(grains) => grains.place(&self.file, number)?,
        })
    }

    fn read_compressed(
        &self,
        bytes: &mut [u8],
        number: u64,
        within: u64,
        at: u64,
    ) -> io::Result<()> {
        let mut last = self.last.lock();
        let block = match &mut *last {
            Some((there, block)) if *there == number => block,
            other => {
                let block = Grains::decompress(&self.file, at, self.opened.block)?;
                &mut other.insert((number, block)).1
            }
        };
        let start = usize::try_from(within).unwrap_or(usize::MAX);
        let there = block.get(start..start.saturating_add(bytes.len()));
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::InvalidData)?);
        Ok(())
    }
}

impl<F> fmt::Debug for DiskImage<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskImage")
            .field("size", &self.opened.size)
            .field("block", &self.opened.block)
            .finish_non_exhaustive()
    }
}
