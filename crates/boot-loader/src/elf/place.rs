//! Where the bytes of an ELF come from, and the way into RAM without a buffer of the whole.

use std::io::{self, BufRead};

use vmmkit_guest_memory::{GuestAddress, GuestRam};

use super::ElfError;
use super::segments::{Segment, Segments};
use crate::region::Region;

/// The bytes of an ELF file.
pub(crate) trait Image {
    /// Bytes can be had in ascending order only.
    const SEQUENTIAL: bool;

    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset`.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Copies `length` bytes from `offset` to `address`.
    fn copy_to(
        &mut self,
        offset: u64,
        length: u64,
        ram: &GuestRam,
        address: GuestAddress,
    ) -> io::Result<()>;
}

/// An ELF that is a file: the host's kernel copies straight into guest RAM.
impl Image for Region<'_> {
    const SEQUENTIAL: bool = false;

    fn size(&self) -> u64 {
        self.size()
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        Region::read_at(self, offset, bytes)
    }

    fn copy_to(
        &mut self,
        offset: u64,
        length: u64,
        ram: &GuestRam,
        address: GuestAddress,
    ) -> io::Result<()> {
        Region::copy_to(self, offset, length, ram, address)
    }
}

/// An ELF that comes out of a decompressor: each of its buffers is copied once, into RAM.
#[derive(Debug)]
pub(crate) struct ImageStream<R> {
    reader: R,
    position: u64,
    size: u64,
}

impl<R: BufRead> ImageStream<R> {
    /// The stream of `reader`, which says it has `size` bytes.
    pub(crate) fn new(reader: R, size: u64) -> Self {
        Self {
            reader,
            position: 0,
            size,
        }
    }

    /// Reads on to `offset`, each byte given to `sink`.
    fn advance(
        &mut self,
        offset: u64,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while self.position < offset {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if chunk.is_empty() {
                return Err(ended(self.position, self.size));
            }
            let wanted =
                usize::try_from(offset.saturating_sub(self.position)).unwrap_or(usize::MAX);
            let length = wanted.min(chunk.len());
            sink(chunk.get(..length).unwrap_or(chunk))?;
            self.reader.consume(length);
            self.position = self.position.saturating_add(length as u64);
        }
        Ok(())
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        if offset < self.position {
            return Err(io::Error::other(format!(
                "the decompressed kernel is at byte {}, and byte {offset} is asked for",
                self.position
            )));
        }
        self.advance(offset, |_| Ok(()))
    }

    /// Reads the rest, so that the decompressor checks its checksum, and that nothing follows.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.skip_to(self.size)?;
        if self.reader.fill_buf()?.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "more than the {} bytes it says it has",
                self.size
            )))
        }
    }
}

impl<R: BufRead> Image for ImageStream<R> {
    const SEQUENTIAL: bool = true;

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.skip_to(offset)?;
        self.reader.read_exact(bytes)?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn copy_to(
        &mut self,
        offset: u64,
        length: u64,
        ram: &GuestRam,
        address: GuestAddress,
    ) -> io::Result<()> {
        self.skip_to(offset)?;
        let mut to = address;
        self.advance(offset.saturating_add(length), |chunk| {
            ram.write_bytes(to, chunk).map_err(io::Error::other)?;
            to = GuestAddress(to.0.saturating_add(chunk.len() as u64));
            Ok(())
        })
    }
}

/// The bytes of a note segment.
pub(super) struct Notes {
    pub(super) bytes: Vec<u8>,
    pub(super) align: u64,
}

/// Places every segment, file order, and reads the notes that lie in none of them.
pub(super) fn place<I: Image>(
    ram: &GuestRam,
    image: &mut I,
    segments: &Segments,
) -> Result<Vec<Notes>, ElfError> {
    let mut notes = Vec::new();
    for load in &segments.loads {
        let address = GuestAddress(load.address);
        if load.file_size > 0 {
            image
                .copy_to(load.offset, load.file_size, ram, address)
                .map_err(|source| read_failed(load, source))?;
        }
        let bss = load.address.saturating_add(load.file_size);
        zero(ram, bss, load.memory_size.saturating_sub(load.file_size))?;
    }
    for note in segments
        .notes
        .iter()
        .filter(|note| segments.around(note).is_none())
    {
        // Behind a stream's position: a kernel's notes lie inside its text, so nothing is lost.
        if I::SEQUENTIAL {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(note.file_size).unwrap_or(0)];
        image
            .read_at(note.offset, &mut bytes)
            .map_err(|source| read_failed(note, source))?;
        notes.push(Notes {
            bytes,
            align: note.align,
        });
    }
    Ok(notes)
}

/// The notes that lie inside a placed segment.
pub(super) fn notes_in_ram(ram: &GuestRam, segments: &Segments) -> Vec<Notes> {
    let mut notes = Vec::new();
    for note in &segments.notes {
        let Some(load) = segments.around(note) else {
            continue;
        };
        let offset = note.offset.saturating_sub(load.offset);
        let address = GuestAddress(load.address.saturating_add(offset));
        let mut bytes = vec![0; usize::try_from(note.file_size).unwrap_or(0)];
        if ram.read_bytes(address, &mut bytes).is_ok() {
            notes.push(Notes {
                bytes,
                align: note.align,
            });
        }
    }
    notes
}

/// Zeroes `length` bytes at `address`, without touching pages that are zero already: fresh RAM
/// stays untouched, RAM of an earlier boot does not leak into the bss.
fn zero(ram: &GuestRam, address: u64, length: u64) -> Result<(), ElfError> {
    const ZEROES: [u8; 4096] = [0; 4096];
    let mut bytes = ZEROES;
    let (mut at, end) = (address, address.saturating_add(length));
    while at < end {
        let page_end = (at | 0xfff).saturating_add(1).min(end);
        let size = usize::try_from(page_end.saturating_sub(at)).unwrap_or(0);
        let (Some(chunk), Some(zeroes)) = (bytes.get_mut(..size), ZEROES.get(..size)) else {
            break;
        };
        ram.read_bytes(GuestAddress(at), chunk)?;
        if chunk != zeroes {
            ram.write_bytes(GuestAddress(at), zeroes)?;
        }
        at = page_end;
    }
    Ok(())
}

fn read_failed(segment: &Segment, source: io::Error) -> ElfError {
    let what = format!(
        "program header {}: {} bytes at p_offset = {:#x}",
        segment.index, segment.file_size, segment.offset
    );
    ElfError::Read { what, source }
}

fn ended(position: u64, size: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("it ends after {position} of the {size} bytes it says it has"),
    )
}
