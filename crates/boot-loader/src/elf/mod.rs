//! ELF kernels: strict checks, then each segment to its physical address.
//!
//! linux-loader gives the structures; its `Elf` loader is not used, because it takes a 32-bit or
//! ARM file for a kernel, leaves a segment without file bytes uncounted and unzeroed, lets a later
//! note segment hide the PVH note, does not check entry addresses, and reads only from a seekable
//! file, so that a compressed kernel would have to be unpacked whole first.

mod error;
mod header;
mod notes;
mod place;
mod segments;

pub use error::ElfError;
pub(crate) use place::{Image, ImageFile, ImageStream};

use vmmkit_guest_memory::GuestRam;

use segments::Segments;

/// An ELF kernel that is in RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElfKernel {
    /// `e_entry`, wherever it points.
    pub(crate) entry: u64,
    /// Whether `e_entry` is the physical address of loaded file bytes.
    pub(crate) entry_is_loaded: bool,
    /// What the PVH note says, and whether loaded file bytes lie there.
    pub(crate) pvh: Option<(u64, bool)>,
    /// The lowest address used.
    pub(crate) start: u64,
    /// The first address after the last segment, its bss included.
    pub(crate) end: u64,
    /// Bytes copied from the file into RAM.
    pub(crate) placed: u64,
}

/// Checks `image` and places it. Nothing is written before every header is checked.
pub(crate) fn load<I: Image>(ram: &GuestRam, image: &mut I) -> Result<ElfKernel, ElfError> {
    let header = header::read(image)?;
    let segments = Segments::read(ram, image, &header)?;
    let mut notes = place::place(ram, image, &segments)?;
    notes.extend(place::notes_in_ram(ram, &segments));
    let pvh = notes
        .iter()
        .find_map(|note| notes::pvh_entry(&note.bytes, note.align))
        .map(|entry| (entry, segments.holds_code(entry)));
    Ok(ElfKernel {
        entry: header.e_entry,
        entry_is_loaded: segments.holds_code(header.e_entry),
        pvh,
        start: segments.start(),
        end: segments.end(),
        placed: segments.file_bytes(),
    })
}

impl ElfKernel {
    /// The 64-bit entry address.
    pub(crate) fn entry_64(&self) -> Result<u64, ElfError> {
        if self.entry_is_loaded {
            Ok(self.entry)
        } else {
            let (field, value) = ("e_entry", self.entry);
            Err(ElfError::EntryOutside {
                field,
                value,
                start: self.start,
                end: self.end,
            })
        }
    }

    /// The PVH entry address.
    pub(crate) fn entry_pvh(&self) -> Result<u64, ElfError> {
        match self.pvh {
            Some((entry, true)) => Ok(entry),
            Some((value, false)) => {
                let field = "the PVH note's entry";
                Err(ElfError::EntryOutside {
                    field,
                    value,
                    start: self.start,
                    end: self.end,
                })
            }
            None => Err(ElfError::NoPvhNote),
        }
    }
}

#[cfg(test)]
mod tests;
