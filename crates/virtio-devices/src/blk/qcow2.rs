//! An image of QEMU's format, by the crate imago.

mod chain;
mod check;
mod clusters;
mod header;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatDriverBuilder};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::bounce::{drain, fill};
use super::disk::is_unsupported;
use super::lock::lock;
use super::raw::check_kind;
use super::{BlockConfig, BlockError, Disk, Topology};
use chain::Chain;
use check::check_counted;
use header::check_plain;

/// Bytes that are moved at once: a cluster of the usual size.
const PIECE: usize = 64 << 10;

/// A qcow2 image, locked. It is read and written by way of buffers of this process. What it names as
/// its backing file is opened too, for reading and without a lock: who takes an image from a stranger
/// gives the guest what the image names.
///
/// One that is to be written is checked first: it must count each cluster that it uses, and use none
/// twice.
pub struct Qcow2Disk {
    /// Shared by all but discards, which imago does alone.
    image: RwLock<FormatAccess<imago::file::File>>,
    /// Buffers that are not in use.
    buffers: Mutex<Vec<Vec<u8>>>,
    path: PathBuf,
    is_read_only: bool,
    /// Held for its lock.
    _locked: File,
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
        check_kind(&path)?;
        let locked = lock(&path, config.read_only)?;
        let checked = check_plain(&locked).and_then(|()| match config.read_only {
            true => Ok(()),
            false => check_counted(&locked),
        });
        let opened = checked.and_then(|()| open_image(&path, config.read_only));
        let image = opened.map_err(|source| BlockError::Qcow2 {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            image: RwLock::new(image),
            buffers: Mutex::default(),
            path,
            is_read_only: config.read_only,
            _locked: locked,
        })
    }

    fn shared<T>(&self, work: impl FnOnce(&FormatAccess<imago::file::File>) -> T) -> T {
        work(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exclusive<T>(&self, work: impl FnOnce(&mut FormatAccess<imago::file::File>) -> T) -> T {
        work(&mut self.image.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_buffer<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let buffers = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers().pop().unwrap_or_else(|| vec![0; PIECE]);
        let answer = work(&mut buffer);
        buffers().push(buffer);
        answer
    }
}

fn open_image(path: &Path, read_only: bool) -> io::Result<FormatAccess<imago::file::File>> {
    let builder = Qcow2::<imago::file::File>::builder_path(path).write(!read_only);
    let image = builder.open(Chain::default())?;
    Ok(FormatAccess::new(image))
}

/// Whether the disk is smaller than a cluster: there imago (0.2.6) counts below 0 when it zeroes a part.
fn is_within_a_cluster(image: &FormatAccess<imago::file::File>) -> bool {
    let cluster = image.inner().zero_granularity();
    cluster.is_some_and(|cluster| image.size() < cluster)
}

fn write_zeroes_as_data(
    image: &FormatAccess<imago::file::File>,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    let zeroes = [0; 4096];
    let end = offset.saturating_add(length);
    for at in (offset..end).step_by(zeroes.len()) {
        let piece = usize::try_from(end - at).unwrap_or(zeroes.len());
        image.write(zeroes.get(..piece).unwrap_or(&zeroes).as_ref(), at)?;
    }
    Ok(())
}

impl Disk for Qcow2Disk {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.shared(FormatAccess::size))
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn topology(&self) -> Topology {
        Topology::default()
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.with_buffer(|buffer| {
            self.shared(|image| {
                fill(ram, segments, buffer, |piece, at| {
                    image.read(piece, offset + at)
                })
            })
        })
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.with_buffer(|buffer| {
            self.shared(|image| {
                drain(ram, segments, buffer, |piece, at| {
                    image.write(piece, offset + at)
                })
            })
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.shared(|image| {
            image.flush()?;
            image.sync()
        })
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.exclusive(|image| image.discard_to_any(offset, length)) {
            Err(error) if is_unsupported(&error) => Ok(()),
            answer => answer,
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let done = if self.shared(is_within_a_cluster) {
            Err(io::ErrorKind::Unsupported.into())
        } else if unmap {
            self.exclusive(|image| image.discard_to_zero(offset, length))
        } else {
            self.shared(|image| image.write_zeroes(offset, length))
        };
        match done {
            // Version 2 of the format knows no zeroes.
            Err(error) if is_unsupported(&error) => {
                self.shared(|image| write_zeroes_as_data(image, offset, length))
            }
            done => done,
        }
    }
}

impl fmt::Debug for Qcow2Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Disk")
            .field("path", &self.path)
            .field("is_read_only", &self.is_read_only)
            .finish_non_exhaustive()
    }
}
