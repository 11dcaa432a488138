//! An image of any format: a table of blocks.

use std::fmt;
use std::io;

use parking_lot::Mutex;

use crate::file::read_with_zeroes;
use crate::grains::Grains;
use crate::layout::{Layout, Opened};
use crate::place::Place;
use crate::{ImageError, ReadAt, qcow2, vdi, vhd, vmdk};

/// The format of an image. It is the caller's to say: what an image begins with, the guest of a raw disk can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// QEMU's, versions 2 and 3.
    Qcow2,
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
    /// The cluster or grain that was decompressed last, by its number.
    last: Mutex<Option<(u64, Vec<u8>)>>,
}

impl<F: ReadAt> DiskImage<F> {
    /// Reads the headers of the image in `file`, which is of `format`.
    ///
    /// # Errors
    /// [`ImageError`]: the host's reason, or the field at fault with its value.
    pub fn open(file: F, format: Format) -> Result<Self, ImageError> {
        let opened = match format {
            Format::Qcow2 => qcow2::open(&file)?,
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
                match self.opened.layout {
                    Layout::Clusters(_) => read_with_zeroes(&self.file, bytes, at),
                    _ => self.file.read_exact_at(bytes, at),
                }
            }
            place => self.read_packed(bytes, number * self.opened.block + within, place),
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
            Layout::Clusters(clusters) => clusters.place(&self.file, number)?,
        })
    }

    /// Fills `bytes` with what the disk has at `offset`: a part of what is compressed at `place`.
    fn read_packed(&self, bytes: &mut [u8], offset: u64, place: Place) -> io::Result<()> {
        let (number, within) = (offset / self.opened.packed, offset % self.opened.packed);
        let mut last = self.last.lock();
        let packed = match &mut *last {
            Some((there, packed)) if *there == number => packed,
            other => &mut other.insert((number, self.decompress(place)?)).1,
        };
        let start = usize::try_from(within).unwrap_or(usize::MAX);
        let there = packed.get(start..start.saturating_add(bytes.len()));
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::InvalidData)?);
        Ok(())
    }

    fn decompress(&self, place: Place) -> io::Result<Vec<u8>> {
        match (&self.opened.layout, place) {
            (Layout::Clusters(clusters), Place::CompressedCluster { at, length }) => {
                clusters.decompress(&self.file, at, length)
            }
            (_, Place::CompressedGrain(at)) => {
                Grains::decompress(&self.file, at, self.opened.packed)
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
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
