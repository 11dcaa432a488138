//! A raw file or a block device of the host.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, fstatfs, statx};
use rustix::fs::{ioctl_blkpbszget, ioctl_blksszget};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::bounce::{AlignedBuffer, drain, fill};
use super::disk::is_unsupported;
use super::foreign::{self, ForeignFormat};
use super::lock::{check_same, lock};
use super::{BlockConfig, BlockError, Disk, Topology};

/// Bytes that an unaligned transfer or the writing of zeroes moves at once.
const PIECE: usize = 64 << 10;
/// The kind of file system that tmpfs is (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A raw file or a block device of the host, locked.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    path: PathBuf,
    is_read_only: bool,
    topology: Topology,
    direct: Option<Direct>,
    /// Whether the file is nowhere but in the host's memory.
    is_in_memory: bool,
    /// Held for its lock.
    _locked: File,
}

/// What O_DIRECT wants, in bytes; powers of 2.
#[derive(Clone, Copy, Debug)]
struct Direct {
    /// Of the address of each buffer.
    memory: u32,
    /// Of the length of each buffer and of the offset in the file.
    block: u32,
}

impl RawDisk {
    /// Opens and locks the disk of `config`.
    ///
    /// # Errors
    /// [`BlockError`] names the path, the reason and what helps.
    pub fn open(config: &BlockConfig) -> Result<Self, BlockError> {
        let path = &config.path;
        check_kind(path)?;
        let locked = lock(path, config.read_only)?;
        let file = open(config)?;
        check_same(&locked, &file, path)?;
        let ask = |what, source| BlockError::Ask {
            name: path.display().to_string(),
            what,
            source,
        };
        if config.format.is_none() {
            let found = foreign::find(&locked).map_err(|error| ask("contents", error))?;
            check_foreign(found, config)?;
        }
        let metadata = file.metadata().map_err(|error| ask("kind", error))?;
        let mut topology = if metadata.file_type().is_block_device() {
            blocks_of_device(&file).map_err(|error| ask("block size", error))?
        } else {
            Topology::default()
        };
        let direct = config.direct.then(|| Direct::of(&file, &topology));
        if let Some(direct) = direct {
            topology.logical_block = topology.logical_block.max(direct.block);
            topology.physical_block = topology.physical_block.max(direct.block);
        }
        let system = fstatfs(&file).map_err(|error| ask("file system", error.into()))?;
        Ok(Self {
            file,
            is_in_memory: system.f_type == TMPFS_MAGIC,
            path: path.clone(),
            is_read_only: config.read_only,
            topology,
            direct,
            _locked: locked,
        })
    }

    /// A buffer that the file takes.
    fn buffer(&self) -> AlignedBuffer {
        let alignment = self
            .direct
            .map_or(1, |direct| direct.memory.max(direct.block));
        AlignedBuffer::new(PIECE, alignment as usize)
    }

    fn zeroes(&self, mut offset: u64, mut length: u64) -> io::Result<()> {
        let buffer = self.buffer();
        while length > 0 {
            let piece = buffer.first(length);
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
            length -= piece.len() as u64;
        }
        Ok(())
    }
}

/// Refuses what an open may wait for (a pipe) or wind (a tape).
pub(super) fn check_kind(path: &Path) -> Result<FileType, BlockError> {
    let found = std::fs::metadata(path).map_err(|source| BlockError::Open {
        path: path.to_owned(),
        read_only: true,
        source,
    });
    let kind = found?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(BlockError::NotADisk {
            path: path.to_owned(),
        });
    }
    Ok(kind)
}

/// Opens the file. A block device that is to be written is taken from the host (O_EXCL without
/// O_CREAT, open(2)): it cannot be mounted then, nor be taken while it is; nor could sectors be
/// discarded otherwise.
pub(super) fn open(config: &BlockConfig) -> Result<File, BlockError> {
    let path = &config.path;
    let mut flags = OFlags::empty();
    if config.direct {
        flags |= OFlags::DIRECT;
    }
    if !config.read_only && check_kind(path)?.is_block_device() {
        flags |= OFlags::EXCL;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(!config.read_only);
    options.custom_flags(flags.bits() as i32);
    let opened = open_when_free(&options, path);
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => BlockError::HostUses { path: path.clone() },
        io::ErrorKind::InvalidInput if config.direct => BlockError::NoDirect { path: path.clone() },
        _ => BlockError::Open {
            path: path.clone(),
            read_only: config.read_only,
            source,
        },
    })
}

/// Opens, and gives a device that is busy some time: the host takes the io_uring of a process that was
/// killed apart a moment after its end.
fn open_when_free(options: &OpenOptions, path: &Path) -> io::Result<File> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    for _ in 1..TRIES {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    options.open(path)
}

/// Refuses a file that is no disk by its contents, where nobody said that it is one. A raw disk of a
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

impl Direct {
    /// Hosts before 6.1 do not say, and a page serves everywhere.
    fn of(file: &File, topology: &Topology) -> Self {
        const PAGE: u32 = 4096;
        let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
        let told = told.ok().filter(|told| {
            told.stx_mask & StatxFlags::DIOALIGN.bits() != 0
                && told.stx_dio_mem_align.is_power_of_two()
                && told.stx_dio_offset_align.is_power_of_two()
        });
        match told {
            Some(told) => Self {
                memory: told.stx_dio_mem_align,
                block: told.stx_dio_offset_align.max(512),
            },
            None => Self {
                memory: PAGE,
                block: topology.physical_block.max(PAGE),
            },
        }
    }
}

impl Disk for RawDisk {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        // Files and block devices alike; nobody uses the position.
        (&self.file).seek(SeekFrom::End(0))
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn topology(&self) -> Topology {
        self.topology
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        if self.takes(segments) {
            return whole(
                segments,
                offset,
                io::ErrorKind::UnexpectedEof,
                |rest, at| ram.read_at(&self.file, rest, at),
            );
        }
        let mut buffer = self.buffer();
        fill(ram, segments, buffer.all(), |piece, at| {
            self.file.read_exact_at(piece, offset + at)
        })
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        if self.takes(segments) {
            return whole(segments, offset, io::ErrorKind::WriteZero, |rest, at| {
                ram.write_at(&self.file, rest, at)
            });
        }
        let mut buffer = self.buffer();
        drain(ram, segments, buffer.all(), |piece, at| {
            self.file.write_all_at(piece, offset + at)
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, mode, offset, length).map_err(io::Error::from) {
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
        let mode = how | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, mode, offset, length).map_err(io::Error::from) {
            Err(error) if is_unsupported(&error) => self.zeroes(offset, length),
            answer => answer,
        }
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

    fn buffers_writes(&self) -> bool {
        self.direct.is_none()
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn takes(&self, segments: &[Segment]) -> bool {
        let Some(Direct { memory, block }) = self.direct else {
            return true;
        };
        // Guest addresses are as aligned as the host's: RAM begins at multiples of 2 MiB.
        segments.iter().all(|segment| {
            segment.address.0.is_multiple_of(memory.into()) && segment.length.is_multiple_of(block)
        })
    }
}

/// Calls until all bytes of the segments are moved; `end` is the error where nothing is.
fn whole(
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
            rest = skip(segments, done);
        }
    }
    Ok(())
}

fn total(segments: &[Segment]) -> u64 {
    let lengths = segments.iter().map(|segment| u64::from(segment.length));
    lengths.sum()
}

fn skip(segments: &[Segment], mut bytes: u64) -> Vec<Segment> {
    let mut rest = Vec::with_capacity(segments.len());
    for segment in segments {
        let behind = bytes.min(segment.length.into());
        bytes -= behind;
        let length = segment.length - behind as u32;
        if length > 0 {
            let address = vmmkit_guest_memory::GuestAddress(segment.address.0 + behind);
            rest.push(Segment { address, length });
        }
    }
    rest
}
