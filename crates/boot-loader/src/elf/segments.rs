//! The program headers (System V ABI, chapter 5), checked as a whole.

use std::io;

use linux_loader::elf::{self, Elf64_Phdr};
use vmmkit_guest_memory::{ByteValued, GuestAddress, GuestRam};

use super::header::{Header, PHDR_32};
use super::notes::Found;
use super::{ElfError, Image};
use crate::little_endian::u32_at;
use crate::memory_map::{HIGH_MEMORY, low_ram_end};

/// The largest note segment that is read, in bytes.
const MAX_NOTES: u64 = 64 << 10;

/// A program header: its bytes in the file and where they belong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) index: usize,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) virtual_address: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
    pub(super) align: u64,
}

/// Every PT_LOAD with a size and every PT_NOTE, each list in the file's order.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) loads: Vec<Segment>,
    pub(super) notes: Vec<Segment>,
}

/// A segment that begins below 1 MiB, where what the kernel is told lies too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LowSegment {
    /// Its program header, from 0.
    pub(crate) index: usize,
    /// Its first address.
    pub(crate) start: u64,
    /// The first address after it.
    pub(crate) end: u64,
}

impl Segments {
    /// Reads the program headers and checks each, and all against each other.
    pub(super) fn read<I: Image>(
        ram: &GuestRam,
        image: &mut I,
        header: &Header,
    ) -> Result<Self, ElfError> {
        let mut segments = Self::default();
        let count = usize::from(header.count);
        let mut offset = header.table;
        for index in 0..count {
            let (raw, size) =
                read_header(image, offset, header.is_32_bit).map_err(|source| ElfError::Read {
                    what: format!("program header {index}"),
                    source,
                })?;
            offset = offset.saturating_add(size as u64);
            segments.take(ram, index, &raw, image.size())?;
        }
        if segments.loads.is_empty() {
            return Err(ElfError::NothingToLoad { count });
        }
        segments.check_memory_overlap()?;
        segments.loads.sort_by_key(|segment| segment.offset);
        segments.notes.sort_by_key(|segment| segment.offset);
        if I::SEQUENTIAL {
            segments.check_file_order(offset)?;
        }
        Ok(segments)
    }

    fn take(
        &mut self,
        ram: &GuestRam,
        index: usize,
        raw: &Elf64_Phdr,
        image_size: u64,
    ) -> Result<(), ElfError> {
        let segment = Segment {
            index,
            offset: raw.p_offset,
            address: raw.p_paddr,
            virtual_address: raw.p_vaddr,
            file_size: raw.p_filesz,
            memory_size: raw.p_memsz,
            align: raw.p_align,
        };
        match raw.p_type {
            elf::PT_LOAD if raw.p_memsz > 0 || raw.p_filesz > 0 => {
                segment.check_file(image_size)?;
                segment.check_memory(ram)?;
                self.loads.push(segment);
            }
            elf::PT_NOTE if raw.p_filesz > 0 && raw.p_filesz <= MAX_NOTES => {
                segment.check_file(image_size)?;
                self.notes.push(segment);
            }
            _ => {}
        }
        Ok(())
    }

    fn check_memory_overlap(&self) -> Result<(), ElfError> {
        let mut ascending: Vec<&Segment> = self.loads.iter().collect();
        ascending.sort_by_key(|segment| segment.address);
        for (low, high) in ascending.iter().zip(ascending.iter().skip(1)) {
            if high.address < low.end() {
                return Err(ElfError::Overlap {
                    first: low.index,
                    second: high.index,
                    address: high.address,
                    end: low.end(),
                });
            }
        }
        Ok(())
    }

    /// A stream cannot go back: file ranges must follow each other.
    fn check_file_order(&self, headers_end: u64) -> Result<(), ElfError> {
        let mut position = headers_end;
        for segment in self.loads.iter().filter(|segment| segment.file_size > 0) {
            // A first segment may include the headers: those bytes are gone by then.
            if segment.offset < position {
                return Err(ElfError::Segment {
                    index: segment.index,
                    field: "p_offset",
                    value: segment.offset,
                    rule: "in a compressed kernel it must lie after the headers and the segments \
                           before it",
                });
            }
            position = segment.offset.saturating_add(segment.file_size);
        }
        Ok(())
    }

    /// The loaded segment whose file bytes include those of `note`.
    pub(super) fn around(&self, note: &Segment) -> Option<&Segment> {
        let end = note.offset.checked_add(note.file_size)?;
        self.loads.iter().find(|load| {
            load.offset <= note.offset && end <= load.offset.saturating_add(load.file_size)
        })
    }

    /// Whether file bytes are loaded at `address`.
    pub(super) fn holds_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| {
            address
                .checked_sub(load.address)
                .is_some_and(|offset| offset < load.file_size)
        })
    }

    /// The physical address of the loaded file bytes whose virtual address is `address`.
    pub(super) fn physical(&self, address: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let offset = address.checked_sub(load.virtual_address)?;
            (offset < load.file_size).then_some(load.address.saturating_add(offset))
        })
    }

    /// The segments that begin below 1 MiB.
    pub(super) fn low(&self) -> Vec<LowSegment> {
        let low = |load: &&Segment| load.address < HIGH_MEMORY.0;
        self.loads
            .iter()
            .filter(low)
            .map(|load| LowSegment {
                index: load.index,
                start: load.address,
                end: load.end(),
            })
            .collect()
    }

    pub(super) fn start(&self) -> u64 {
        self.loads
            .iter()
            .map(|load| load.address)
            .min()
            .unwrap_or(0)
    }

    pub(super) fn end(&self) -> u64 {
        self.loads.iter().map(Segment::end).max().unwrap_or(0)
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.loads
            .iter()
            .fold(0, |sum: u64, load| sum.saturating_add(load.file_size))
    }
}

impl Segment {
    fn end(&self) -> u64 {
        self.address.saturating_add(self.memory_size)
    }

    fn check_file(&self, image_size: u64) -> Result<(), ElfError> {
        let needed = self.offset.saturating_add(self.file_size);
        if needed > image_size {
            let what = format!(
                "program header {}: p_offset = {:#x}, p_filesz = {:#x}",
                self.index, self.offset, self.file_size
            );
            return Err(ElfError::Truncated {
                what,
                needed,
                size: image_size,
            });
        }
        Ok(())
    }

    fn check_memory(&self, ram: &GuestRam) -> Result<(), ElfError> {
        let field = |field, value, rule| {
            Err(ElfError::Segment {
                index: self.index,
                field,
                value,
                rule,
            })
        };
        if self.file_size > self.memory_size {
            return field("p_filesz", self.file_size, "it is larger than p_memsz");
        }
        if !ram.contains(GuestAddress(self.address), self.memory_size) {
            return Err(ElfError::OutsideRam {
                index: self.index,
                address: self.address,
                size: self.memory_size,
                ram_end: low_ram_end(ram),
            });
        }
        Ok(())
    }
}

/// The contents of the notes of a file that is not to be loaded.
pub(super) fn notes<I: Image>(image: &mut I, header: &Header) -> Result<Found, ElfError> {
    let mut found = Found::default();
    let mut offset = header.table;
    for index in 0..header.count {
        let failed = |source| ElfError::Read {
            what: format!("program header {index}"),
            source,
        };
        let (raw, size) = read_header(image, offset, header.is_32_bit).map_err(failed)?;
        offset = offset.saturating_add(size as u64);
        if raw.p_type == elf::PT_NOTE && raw.p_filesz <= MAX_NOTES {
            let mut bytes = vec![0; usize::try_from(raw.p_filesz).unwrap_or(0)];
            image.read_at(raw.p_offset, &mut bytes).map_err(failed)?;
            found.search(&bytes, raw.p_align);
        }
    }
    Ok(found)
}

/// The program header at `offset`, and its size in the file.
fn read_header<I: Image>(
    image: &mut I,
    offset: u64,
    is_32_bit: bool,
) -> io::Result<(Elf64_Phdr, usize)> {
    if !is_32_bit {
        let mut raw = Elf64_Phdr::default();
        image.read_at(offset, raw.as_mut_slice())?;
        return Ok((raw, size_of::<Elf64_Phdr>()));
    }
    let mut raw = [0; PHDR_32];
    image.read_at(offset, &mut raw)?;
    let word = |at| u32_at(&raw, at).unwrap_or(0);
    let wide = Elf64_Phdr {
        p_type: word(0),
        p_offset: word(4).into(),
        p_vaddr: word(8).into(),
        p_paddr: word(12).into(),
        p_filesz: word(16).into(),
        p_memsz: word(20).into(),
        p_flags: word(24),
        p_align: word(28).into(),
    };
    Ok((wide, PHDR_32))
}
