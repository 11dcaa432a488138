//! A raw file or a block device of the host.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate, fstatfs};
use rustix::fs::{ioctl_blkpbszget, ioctl_blksszget};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::direct::Direct;
use super::disk::is_unsupported;
use super::foreign::ForeignFormat;
use super::lock::lock_again;
use super::opened::{open_cached, open_locked};
use super::segments::part;
use super::spec::SECTOR;
use super::{BlockConfig, BlockError, Disk, Topology};

/// Bytes that the writing of zeroes writes at once.
const PIECE: usize = 64 << 10;
/// The kind of file system that tmpfs is (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A raw file or a block device of the host, locked.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    path: PathBuf,
    is_read_only: bool,
    /// Whether it is a block device.
    is_device: bool,
    topology: Topology,
    /// Unit of ranges to discard or to zero, in bytes: fallocate(2) takes no others on a
    /// block device.
    unit: u32,
    direct: Option<Direct>,
    /// Whether the file is nowhere but in the host's memory.
    is_in_memory: bool,
    /// Has the lock.
    locked: File,
}

impl RawDisk {
    /// Opens and locks the disk of `config`.
    ///
    /// # Errors
    /// [`BlockError`] names the path, the reason and what helps.
    pub fn open(config: &BlockConfig) -> Result<Self, BlockError> {
        let path = &config.path;
        let (locked, file) = open_locked(config)?;
        let ask = |what, source| BlockError::Ask {
            name: path.display().to_string(),
            what,
            source,
        };
        if config.format.is_none() {
            let found = ForeignFormat::of(&locked).map_err(|error| ask("contents", error))?;
            check_foreign(found, config)?;
        }
        let metadata = file.metadata().map_err(|error| ask("kind", error))?;
        let device = match metadata.file_type().is_block_device() {
            true => Some(blocks_of_device(&file).map_err(|error| ask("block size", error))?),
            false => None,
        };
        let direct = match config.direct {
            true => Some(Direct::new(&file, open_cached(config, &locked)?, device)),
            false => None,
        };
        let system = fstatfs(&file).map_err(|error| ask("file system", error.into()))?;
        Ok(Self {
            file,
            is_in_memory: system.f_type == TMPFS_MAGIC,
            path: path.clone(),
            is_read_only: config.read_only,
            is_device: device.is_some(),
            topology: topology(device, direct.as_ref()),
            unit: device.map_or(1, |device| device.logical_block),
            direct,
            locked,
        })
    }

    /// As a host has it that takes blocks of this size alone, at any address.
    #[cfg(test)]
    pub(super) fn with_blocks(mut self, block: u32) -> Self {
        let direct = Direct::with_alignment(self.file.try_clone().unwrap(), 1, block);
        self.topology = topology(None, Some(&direct));
        self.direct = Some(direct);
        self
    }

    /// Has the host give up a range, or make it zeroes.
    fn allocate(&self, how: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
        let mode = how | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, mode, offset, length)?)
    }

    fn zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) => direct.zeroes(&self.file, offset, length),
            None => zeroes(&self.file, offset, length),
        }
    }
}

/// Writes zeroes to the range.
pub(super) fn zeroes(file: &File, mut offset: u64, mut length: u64) -> io::Result<()> {
    let zeroes = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    while length > 0 {
        let most = usize::try_from(length).unwrap_or(PIECE);
        let piece = zeroes.get(..most).unwrap_or(&zeroes);
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
        length -= piece.len() as u64;
    }
    Ok(())
}

/// The blocks that the guest should know of: sectors can be read and written alone on any host, if not
/// as fast as what the host has for a block.
fn topology(device: Option<Topology>, direct: Option<&Direct>) -> Topology {
    let physical = device.map_or(Topology::default().physical_block, |device| {
        device.physical_block
    });
    Topology {
        logical_block: SECTOR as u32,
        physical_block: physical.max(direct.map_or(0, Direct::block)),
    }
}

/// The units that lie in a range as a whole: where the first begins, and where the last ends.
fn units(offset: u64, length: u64, unit: u32) -> Option<(u64, u64)> {
    let unit = u64::from(unit);
    let end = offset.checked_add(length)?;
    let start = offset.checked_next_multiple_of(unit)?;
    let end = end - end % unit;
    (start < end).then_some((start, end))
}

/// Refuses a file that is not a disk by its contents, where nobody said that it is one. A raw disk of a
/// guest that writes such contents itself is refused the next time, no worse.
fn check_foreign(found: Option<ForeignFormat>, config: &BlockConfig) -> Result<(), BlockError> {
    match found {
        Some(format) if !(config.read_only && format.can_be_read()) => {
            let path = config.path.clone();
            Err(BlockError::Foreign { path, format })
        }
        _ => Ok(()),
    }
}

fn blocks_of_device(file: &File) -> io::Result<Topology> {
    let logical_block = ioctl_blksszget(file)?;
    Ok(Topology {
        logical_block,
        physical_block: ioctl_blkpbszget(file)?.max(logical_block),
    })
}

impl Disk for RawDisk {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        // Files and block devices alike; nobody uses the position.
        (&self.file).seek(SeekFrom::End(0))
    }

    /// A block device is as large as the host has it.
    fn grow(&self, size: u64) -> io::Result<()> {
        if self.is_device {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is a block device: make it larger by what made it",
            ));
        }
        if size > self.size()? {
            self.file.set_len(size)?;
        }
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn topology(&self) -> Topology {
        self.topology
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if !direct.takes(segments, offset) => {
                direct.read(&self.file, ram, segments, offset)
            }
            _ => whole(
                segments,
                offset,
                io::ErrorKind::UnexpectedEof,
                |rest, at| ram.read_at(&self.file, rest, at),
            ),
        }
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        let direct = self.direct.as_ref();
        let _change = direct.and_then(|direct| direct.change(offset, total(segments)));
        match direct {
            Some(direct) if !direct.takes(segments, offset) => {
                direct.write(&self.file, ram, segments, offset)
            }
            _ => whole(segments, offset, io::ErrorKind::WriteZero, |rest, at| {
                ram.write_at(&self.file, rest, at)
            }),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let Some((start, end)) = units(offset, length, self.unit) else {
            return Ok(());
        };
        let direct = self.direct.as_ref();
        let _change = direct.and_then(|direct| direct.change(offset, length));
        match self.allocate(FallocateFlags::PUNCH_HOLE, start, end - start) {
            Err(error) if is_unsupported(&error) => Ok(()),
            answer => answer,
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let how = if unmap {
            FallocateFlags::PUNCH_HOLE
        } else {
            FallocateFlags::ZERO_RANGE
        };
        let direct = self.direct.as_ref();
        let _change = direct.and_then(|direct| direct.change(offset, length));
        let Some((start, end)) = units(offset, length, self.unit) else {
            return self.zeroes(offset, length);
        };
        match self.allocate(how, start, end - start) {
            Err(error) if is_unsupported(&error) => return self.zeroes(offset, length),
            answer => answer?,
        }
        self.zeroes(offset, start - offset)?;
        self.zeroes(end, offset + length - end)
    }

    fn read_now(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        if self.direct.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if self.is_in_memory {
            return self.read(ram, segments, offset);
        }
        match ram.read_at_now(&self.file, segments, offset) {
            Ok(read) if read as u64 == total(segments) => Ok(()),
            Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) if is_unsupported(&error) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        self.locked.unlock()
    }

    fn lock_again(&self) -> Result<(), BlockError> {
        lock_again(&self.locked, &self.path, self.is_read_only)
    }

    fn buffers_writes(&self) -> bool {
        self.direct.is_none()
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn takes(&self, segments: &[Segment], offset: u64) -> bool {
        let direct = self.direct.as_ref();
        direct.is_none_or(|direct| direct.takes(segments, offset))
    }

    fn takes_range(&self, offset: u64, length: u64) -> bool {
        let direct = self.direct.as_ref();
        let unit = self.unit.into();
        offset.is_multiple_of(unit)
            && length.is_multiple_of(unit)
            && direct.is_none_or(|direct| direct.is_whole(offset, length))
    }

    fn rewrites(&self) -> bool {
        let direct = self.direct.as_ref();
        direct.is_some_and(|direct| direct.shared().is_some())
    }

    fn begin_change(&self, offset: u64, length: u64) -> bool {
        let Some(direct) = &self.direct else {
            return true;
        };
        let shared = direct.shared();
        shared.is_none_or(|shared| shared.try_whole(direct.blocks(offset, length)))
    }

    fn end_change(&self, offset: u64, length: u64) {
        let direct = self.direct.as_ref();
        if let Some((direct, shared)) = direct.and_then(|it| Some((it, it.shared()?))) {
            shared.end_whole(&direct.blocks(offset, length));
        }
    }
}

/// Calls until all bytes of the segments are moved; `end` is the error where nothing is.
pub(super) fn whole(
    segments: &[Segment],
    offset: u64,
    end: io::ErrorKind,
    call: impl Fn(&[Segment], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let total = total(segments);
    let mut done = 0;
    let mut rest = Vec::new();
    while done < total {
        let pieces = if done == 0 { segments } else { &rest };
        let moved = call(pieces, offset + done)? as u64;
        if moved == 0 {
            return Err(end.into());
        }
        done += moved;
        if done < total {
            // Rare: a full disk, or more segments than one call takes.
            rest = part(segments, done, total - done);
        }
    }
    Ok(())
}

pub(super) fn total(segments: &[Segment]) -> u64 {
    let lengths = segments.iter().map(|segment| u64::from(segment.length));
    lengths.sum()
}
