//! An image that is only read.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use vmmkit_disk_image::{DiskImage, Format};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::bounce::fill;
use super::buffers::Buffers;
use super::opened::open_locked;
use super::{BlockConfig, BlockError, Disk};

/// An image of a format that is only read, locked. It is read by way of buffers of this process, and never written: for a guest
/// that writes there is [`OverlayDisk`](super::OverlayDisk). None of the files that it names is opened.
#[derive(Debug)]
pub struct ImageDisk {
    image: DiskImage<File>,
    buffers: Buffers,
    path: PathBuf,
    /// Held for its lock.
    _locked: File,
}

impl ImageDisk {
    /// Opens and locks the image of `config`, which is of `format`.
    ///
    /// # Errors
    /// [`BlockError`] names the path and the reason: also where the guest is to write it.
    pub fn open(config: &BlockConfig, format: Format) -> Result<Self, BlockError> {
        let path = config.path.clone();
        if config.direct {
            let option = "direct";
            return Err(BlockError::RawOnly { option, path });
        }
        if !config.read_only {
            return Err(BlockError::ReadOnlyFormat { path });
        }
        let (locked, file) = open_locked(config)?;
        let image = DiskImage::open(file, format).map_err(|source| BlockError::Image {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            image,
            buffers: Buffers::default(),
            path,
            _locked: locked,
        })
    }
}

impl Disk for ImageDisk {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.image.size())
    }

    fn fixed_size(&self) -> Option<&'static str> {
        Some("its format is only read")
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        // Pieces begin where those of the image do, as a rule.
        let behind = offset % Buffers::PIECE as u64;
        self.buffers.with(|buffer| {
            fill(ram, segments, (buffer, behind), |piece, at| {
                self.image.read(piece, offset + at)
            })
        })
    }

    fn write(&self, _: &GuestRam, _: &[Segment], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
