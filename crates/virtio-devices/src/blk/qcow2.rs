//! An image of QEMU's format, by the crate imago.

mod chain;
mod check;
mod clusters;
mod error;
pub(super) mod header;
mod image;
#[cfg(test)]
mod kill;
mod refcounts;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use vmmkit_guest_memory::{GuestRam, Segment};

use super::bounce::{drain, fill};
use super::buffers::Buffers;
use super::disk::is_unsupported;
use super::lock::lock_again;
use super::opened::{check_kind, open, open_locked};
use super::{BlockConfig, BlockError, Disk, Topology};
use chain::Layers;
use check::check_counted;
pub use error::{Damage, Qcow2Error};
use header::Header;
use image::Image;

/// A qcow2 image, locked. It is read and written by way of buffers of this process. Of the host's files
/// that it names none is opened, but for its backing files where [`BlockConfig::backing`] says so.
///
/// One that is to be written is checked first: it must count each cluster that it uses, and use none
/// twice. Nothing is written to it before the guest writes: then features that say of an image what
/// its writers must keep (autoclear features: the bitmaps of backups) are cleared, as the format asks
/// of those who do not keep it.
///
/// Writes are with the host after a [`flush`](Disk::flush), at rest
/// ([`write_back`](Disk::write_back)) or when this is dropped. After a kill before that, the image is
/// as it was at some time before, but for clusters that are counted and not used.
#[derive(Debug)]
pub struct Qcow2Disk {
    image: Image,
    buffers: Buffers,
    path: PathBuf,
    is_read_only: bool,
    /// Has the lock.
    locked: File,
}

impl Qcow2Disk {
    /// Opens and locks the image of `config`.
    ///
    /// # Errors
    /// [`BlockError`] names the path, the reason and what helps.
    pub fn open(config: &BlockConfig) -> Result<Self, BlockError> {
        let path = config.path.clone();
        if config.direct {
            let option = "direct";
            return Err(BlockError::RawOnly { option, path });
        }
        let (locked, file) = open_locked(config)?;
        let image = open_image(file, config).map_err(|source| BlockError::Qcow2 {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            image,
            buffers: Buffers::default(),
            path,
            is_read_only: config.read_only,
            locked,
        })
    }

    /// The files behind the image at `path`, from the nearest to the last one: what
    /// [`BlockConfig::backing`] has a disk read. They are only looked at.
    ///
    /// # Errors
    /// [`BlockError`]: as for [`open`](Self::open), as far as the headers tell.
    pub fn backing_files(path: &Path) -> Result<Vec<PathBuf>, BlockError> {
        let config = BlockConfig {
            path: path.to_owned(),
            read_only: true,
            ..BlockConfig::default()
        };
        check_kind(path)?;
        let file = open(&config)?;
        let layers = Header::read(&file).and_then(|header| Layers::open(file, header, path, true));
        let layers = layers.map_err(|source| BlockError::Qcow2 {
            path: path.to_owned(),
            source,
        })?;
        Ok(layers.paths_behind())
    }
}

fn open_image(file: File, config: &BlockConfig) -> Result<Image, Qcow2Error> {
    let header = Header::read(&file)?;
    if !config.read_only {
        check_counted(&file, &header)?;
    }
    Image::new(Layers::open(file, header, &config.path, config.backing)?)
}

impl Disk for Qcow2Disk {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.image.size())
    }

    fn fixed_size(&self) -> Option<&'static str> {
        Some(
            "that of a qcow2 image is in its header; `qemu-img resize` changes it while no guest has the image",
        )
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn topology(&self) -> Topology {
        Topology::default()
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.buffers.with(|buffer| {
            fill(ram, segments, (buffer, 0), |piece, at| {
                self.image.read(piece, offset + at)
            })
        })
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.buffers.with(|buffer| {
            drain(ram, segments, (buffer, 0), |piece, at| {
                self.image.write(piece, offset + at)
            })
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.image.flush()
    }

    fn write_back(&self) -> io::Result<()> {
        self.image.write_back()
    }

    fn unlock(&self) -> io::Result<()> {
        self.locked.unlock()
    }

    fn lock_again(&self) -> Result<(), BlockError> {
        lock_again(&self.locked, &self.path, self.is_read_only)
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.image.discard(offset, length) {
            Err(error) if is_unsupported(&error) => Ok(()),
            answer => answer,
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.image.write_zeroes(offset, length, unmap)
    }
}
