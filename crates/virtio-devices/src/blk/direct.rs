//! A file past the host's page cache (O_DIRECT): whole blocks at aligned addresses, whatever the size
//! of the guest's sectors.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, StatxFlags, statx};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::Topology;
use super::bounce::{AlignedBuffer, drain, fill};
use super::shared_blocks::{Change, SharedBlocks};
use super::spec::SECTOR;

/// Bytes that are moved at once, a multiple of every block.
const PIECE: u64 = 64 << 10;
const PAGE: u32 = 4096;

/// How a file is used past the page cache.
#[derive(Debug)]
pub(super) struct Direct {
    /// Alignment of the address of each buffer, in bytes: a power of 2.
    memory: u32,
    /// Alignment of the length of each buffer and of the offset in the file: a power of 2.
    block: u32,
    /// The same file by way of the page cache, for what lies behind its last whole block: to write
    /// that whole would make the file larger.
    cached: File,
    /// `None` where a block is a sector, and never changed in part.
    shared: Option<SharedBlocks>,
}

impl Direct {
    /// Of `file`, whose blocks are known if it is a device. Hosts before 6.1 do not say what they
    /// want, and a page serves everywhere.
    pub(super) fn new(file: &File, cached: File, device: Option<Topology>) -> Self {
        let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
        let told = told.ok().filter(|told| {
            told.stx_mask & StatxFlags::DIOALIGN.bits() != 0
                && told.stx_dio_mem_align.is_power_of_two()
                && told.stx_dio_offset_align.is_power_of_two()
        });
        let (memory, block) = match (told, device) {
            (Some(told), _) => (told.stx_dio_mem_align, told.stx_dio_offset_align),
            (None, Some(device)) => (PAGE, device.logical_block),
            (None, None) => (PAGE, PAGE),
        };
        Self::with_alignment(cached, memory, block)
    }

    pub(super) fn with_alignment(cached: File, memory: u32, block: u32) -> Self {
        let block = block.max(SECTOR as u32);
        Self {
            memory,
            block,
            cached,
            shared: (u64::from(block) > SECTOR).then(SharedBlocks::default),
        }
    }

    /// Bytes of a block.
    pub(super) fn block(&self) -> u32 {
        self.block
    }

    /// Whether the file takes these segments as they lie in RAM.
    #[inline]
    pub(super) fn takes(&self, segments: &[Segment], offset: u64) -> bool {
        // Guest addresses are as aligned as the host's: RAM begins at multiples of 2 MiB.
        offset.is_multiple_of(self.block.into())
            && segments.iter().all(|segment| {
                segment.address.0.is_multiple_of(self.memory.into())
                    && segment.length.is_multiple_of(self.block)
            })
    }

    /// Whether a range is whole blocks.
    pub(super) fn is_whole(&self, offset: u64, length: u64) -> bool {
        let block = self.block.into();
        offset.is_multiple_of(block) && length.is_multiple_of(block)
    }

    /// Blocks that more than one changes in part.
    pub(super) fn shared(&self) -> Option<&SharedBlocks> {
        self.shared.as_ref()
    }

    /// Has nobody else change these blocks in part, or at all where they are changed in part here.
    pub(super) fn change(&self, offset: u64, length: u64) -> Option<Change<'_>> {
        let shared = self.shared.as_ref()?;
        let range = self.blocks(offset, length);
        Some(match self.is_whole(offset, length) {
            true => shared.whole(range),
            false => shared.rewrite(range),
        })
    }

    /// The blocks of a range.
    pub(super) fn blocks(&self, offset: u64, length: u64) -> Range<u64> {
        let block = u64::from(self.block);
        let end = offset.saturating_add(length);
        offset - offset % block..end.checked_next_multiple_of(block).unwrap_or(u64::MAX)
    }

    pub(super) fn read(
        &self,
        file: &File,
        ram: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        let mut blocks = self.of(file)?;
        let mut buffer = vec![0; PIECE as usize];
        let lead = offset % PIECE;
        fill(ram, segments, (&mut buffer, lead), |piece, at| {
            blocks.read(piece, offset + at)
        })
    }

    /// Writes, within a [`change`](Self::change).
    pub(super) fn write(
        &self,
        file: &File,
        ram: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        let mut blocks = self.of(file)?;
        let mut buffer = vec![0; PIECE as usize];
        let lead = offset % PIECE;
        drain(ram, segments, (&mut buffer, lead), |piece, at| {
            blocks.write(piece, offset + at)
        })
    }

    /// Writes zeroes, within a [`change`](Self::change).
    pub(super) fn zeroes(&self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let mut blocks = self.of(file)?;
        let zeroes = [0; PAGE as usize];
        let end = offset.saturating_add(length);
        let mut at = offset;
        while at < end {
            let length = (u64::from(PAGE) - at % u64::from(PAGE)).min(end - at);
            blocks.write(zeroes.get(..length as usize).unwrap_or_default(), at)?;
            at += length;
        }
        Ok(())
    }

    fn of<'a>(&'a self, mut file: &'a File) -> io::Result<Blocks<'a>> {
        // Nobody uses the position.
        let size = file.seek(SeekFrom::End(0))?;
        let alignment = self.memory.max(self.block) as usize;
        Ok(Blocks {
            direct: self,
            file,
            whole_end: size - size % u64::from(self.block),
            // A piece, and what is before and behind it in its blocks.
            buffer: AlignedBuffer::new(PIECE as usize + 2 * self.block as usize, alignment),
        })
    }
}

/// A file as it is for one request.
struct Blocks<'a> {
    direct: &'a Direct,
    file: &'a File,
    /// Behind the last whole block.
    whole_end: u64,
    buffer: AlignedBuffer,
}

impl Blocks<'_> {
    fn read(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let whole = self.whole(bytes.len(), offset);
        let (bytes, rest) = bytes.split_at_mut_checked(whole).unwrap_or_default();
        if !bytes.is_empty() {
            let range = self.direct.blocks(offset, bytes.len() as u64);
            let place = within(&range, offset, bytes.len());
            let blocks = self.buffer.first(range.end - range.start);
            self.file.read_exact_at(blocks, range.start)?;
            bytes.copy_from_slice(blocks.get(place).ok_or(io::ErrorKind::InvalidInput)?);
        }
        self.direct
            .cached
            .read_exact_at(rest, offset + whole as u64)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let whole = self.whole(bytes.len(), offset);
        let (bytes, rest) = bytes.split_at_checked(whole).unwrap_or_default();
        if !bytes.is_empty() {
            let range = self.direct.blocks(offset, bytes.len() as u64);
            let place = within(&range, offset, bytes.len());
            let blocks = self.buffer.first(range.end - range.start);
            read_edges(self.file, blocks, &place, (range.start, self.direct.block))?;
            let changed = blocks.get_mut(place).ok_or(io::ErrorKind::InvalidInput)?;
            changed.copy_from_slice(bytes);
            self.file.write_all_at(blocks, range.start)?;
        }
        self.direct.cached.write_all_at(rest, offset + whole as u64)
    }

    /// How many of these bytes lie in whole blocks of the file.
    fn whole(&self, length: usize, offset: u64) -> usize {
        let before = self.whole_end.saturating_sub(offset);
        length.min(usize::try_from(before).unwrap_or(usize::MAX))
    }
}

/// Where the bytes at `offset` are in the blocks of `range`.
fn within(range: &Range<u64>, offset: u64, length: usize) -> Range<usize> {
    // Less than a block.
    let start = (offset - range.start) as usize;
    start..start + length
}

/// Reads the first and the last of `blocks`, which begin at `start`, where `place` does not fill it.
fn read_edges(
    file: &File,
    blocks: &mut [u8],
    place: &Range<usize>,
    (start, block): (u64, u32),
) -> io::Result<()> {
    let length = blocks.len();
    let last = length.saturating_sub(block as usize);
    let first_is_partial = place.start > 0;
    if first_is_partial && let Some(first) = blocks.get_mut(..block as usize) {
        file.read_exact_at(first, start)?;
    }
    if place.end < length
        && !(first_is_partial && last == 0)
        && let Some(edge) = blocks.get_mut(last..)
    {
        file.read_exact_at(edge, start + last as u64)?;
    }
    Ok(())
}
