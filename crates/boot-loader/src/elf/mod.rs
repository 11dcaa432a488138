//! ELF kernels: strict checks, then each segment to its physical address.
//!
//! linux-loader gives the structures; its `Elf` loader is not used, because it takes an ARM file
//! for a kernel, knows no 32-bit one, leaves a segment without file bytes uncounted and unzeroed, lets a later
//! note segment hide the PVH note, does not check entry addresses, and reads only from a seekable
//! file, so that a compressed kernel would have to be unpacked whole first.

mod error;
mod header;
mod notes;
mod place;
mod segments;

pub use error::ElfError;
pub(crate) use place::{Image, ImageStream};

use std::fs::File;

use vmmkit_guest_memory::GuestRam;

use crate::EntryChoice;
use crate::region::Region;

pub(crate) use segments::LowSegment;
use segments::Segments;

/// An ELF kernel that is in RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElfKernel {
    /// It is a 32-bit file (ELFCLASS32).
    pub(crate) is_32_bit: bool,
    /// `e_entry`, wherever it points.
    pub(crate) entry: u64,
    /// The physical address of `e_entry` where a segment's virtual addresses include it.
    pub(crate) entry_by_virtual: Option<u64>,
    /// Whether `e_entry` is the physical address of loaded file bytes.
    pub(crate) entry_is_loaded: bool,
    /// A note says that it is Linux.
    pub(crate) is_linux: bool,
    /// The PVH note's entry point, and whether loaded file bytes lie there.
    pub(crate) pvh: Option<(u64, bool)>,
    /// The lowest address used.
    pub(crate) start: u64,
    /// The first address after the last segment, its bss included.
    pub(crate) end: u64,
    /// Bytes copied from the file into RAM.
    pub(crate) placed: u64,
    /// The segments that begin below 1 MiB.
    pub(crate) low: Vec<LowSegment>,
}

/// Checks `image` and places it. Nothing is written before every header is checked.
pub(crate) fn load<I: Image>(ram: &GuestRam, image: &mut I) -> Result<ElfKernel, ElfError> {
    let header = header::read(image)?;
    let segments = Segments::read(ram, image, &header)?;
    let mut notes = place::place(ram, image, &segments)?;
    notes.extend(place::notes_in_ram(ram, &segments));
    let mut found = notes::Found::default();
    for note in &notes {
        found.search(&note.bytes, note.align);
    }
    Ok(ElfKernel {
        is_32_bit: header.is_32_bit,
        entry: header.entry,
        entry_by_virtual: segments.physical(header.entry),
        entry_is_loaded: segments.holds_code(header.entry),
        is_linux: found.linux,
        pvh: found.pvh.map(|entry| (entry, segments.holds_code(entry))),
        start: segments.start(),
        end: segments.end(),
        placed: segments.file_bytes(),
        low: segments.low(),
    })
}

/// Whether `kernel`, an ELF, names a PVH entry that [`EntryChoice::Auto`] or [`EntryChoice::Payload`]
/// leaves unused, because Linux's own is preferred: another way to try where the guest dies early.
pub fn has_unused_pvh_entry(kernel: &File, choice: EntryChoice) -> bool {
    let size = kernel.metadata().map_or(0, |data| data.len());
    let mut file = Region::new(kernel, 0, size);
    let notes = header::read(&mut file).and_then(|header| segments::notes(&mut file, &header));
    notes.is_ok_and(|found| match choice {
        EntryChoice::Auto => found.linux && found.pvh.is_some(),
        EntryChoice::Payload => found.pvh.is_some(),
        _ => false,
    })
}

impl ElfKernel {
    /// `e_entry`, where code is loaded.
    pub(crate) fn entry(&self) -> Result<u64, ElfError> {
        if self.entry_is_loaded {
            return Ok(self.entry);
        }
        Err(self.outside("e_entry", self.entry))
    }

    /// `e_entry` as Multiboot loaders take it: a virtual address of a segment, or a physical one.
    pub(crate) fn entry_multiboot(&self) -> Result<u64, ElfError> {
        self.entry_by_virtual.map_or_else(|| self.entry(), Ok)
    }

    /// The PVH entry address.
    pub(crate) fn entry_pvh(&self) -> Result<u64, ElfError> {
        match self.pvh {
            Some((entry, true)) => Ok(entry),
            Some((value, false)) => Err(self.outside("the PVH note's entry", value)),
            None => Err(ElfError::NoPvhNote),
        }
    }

    fn outside(&self, field: &'static str, value: u64) -> ElfError {
        ElfError::EntryOutside {
            field,
            value,
            start: self.start,
            end: self.end,
        }
    }
}

#[cfg(test)]
mod tests;
