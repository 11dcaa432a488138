//! Between a guest's buffers and calls that want another place or shape of memory.

use std::io;

use vmmkit_guest_memory::{GuestAddress, GuestRam, Segment};

/// Zeroes at a multiple of an alignment.
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` bytes at a multiple of `alignment`, a power of 2 up to a page or so.
    pub(super) fn new(length: usize, alignment: usize) -> Self {
        let bytes = vec![0; length + alignment];
        let start = bytes.as_ptr().align_offset(alignment).min(alignment);
        Self {
            bytes,
            start,
            length,
        }
    }

    /// The first bytes, at most `most`.
    pub(super) fn first(&mut self, most: u64) -> &mut [u8] {
        let length = self.length.min(usize::try_from(most).unwrap_or(usize::MAX));
        let end = self.start + length;
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}

/// A buffer, and the bytes by which the first piece is shorter than that: less than there are.
type Buffer<'a> = (&'a mut [u8], u64);

/// Fills the segments by way of `buffer`: `read` fills a piece of it with what is at an offset from
/// the beginning. Pieces are as large as the buffer, but the first and the last.
pub(super) fn fill(
    ram: &GuestRam,
    segments: &[Segment],
    buffer: Buffer<'_>,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    pieces(segments, buffer, |piece, at, parts| {
        read(&mut *piece, at)?;
        let mut piece = &*piece;
        for (address, length) in parts {
            let (part, rest) = piece.split_at_checked(length).unwrap_or_default();
            ram.write_bytes(address, part).map_err(io::Error::other)?;
            piece = rest;
        }
        Ok(())
    })
}

/// The same the other way: `write` takes a piece.
pub(super) fn drain(
    ram: &GuestRam,
    segments: &[Segment],
    buffer: Buffer<'_>,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    pieces(segments, buffer, |piece, at, parts| {
        let mut rest = &mut *piece;
        for (address, length) in parts {
            let (part, after) = rest.split_at_mut_checked(length).unwrap_or_default();
            ram.read_bytes(address, part).map_err(io::Error::other)?;
            rest = after;
        }
        write(piece, at)
    })
}

/// A part of a segment, in this process's sizes.
type Part = (GuestAddress, usize);

/// Goes through the segments in pieces of the buffer's size: the piece, its offset from the
/// beginning, and the parts of segments that it stands for.
fn pieces(
    segments: &[Segment],
    (buffer, lead): Buffer<'_>,
    mut each: impl FnMut(&mut [u8], u64, &mut dyn Iterator<Item = Part>) -> io::Result<()>,
) -> io::Result<()> {
    let most = buffer.len() as u64;
    let total: u64 = segments
        .iter()
        .map(|segment| u64::from(segment.length))
        .sum();
    let mut done = 0;
    let mut room = most.saturating_sub(lead);
    while done < total && room > 0 {
        let length = room.min(total - done);
        room = most;
        let piece = buffer.get_mut(..length as usize).unwrap_or_default();
        each(piece, done, &mut parts(segments, done, done + length))?;
        done += length;
    }
    Ok(())
}

/// The parts of segments between two offsets from the beginning.
fn parts(segments: &[Segment], start: u64, end: u64) -> impl Iterator<Item = Part> + '_ {
    let mut first = 0;
    segments.iter().filter_map(move |segment| {
        let after = first + u64::from(segment.length);
        let (from, to) = (start.max(first), end.min(after));
        let part = (from < to).then(|| {
            let address = GuestAddress(segment.address.0 + (from - first));
            (address, (to - from) as usize)
        });
        first = after;
        part
    })
}
