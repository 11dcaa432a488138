//! A Multiboot kernel that is not an ELF, or whose header has precedence over its ELF headers: one
//! piece of the file goes to one place (the "a.out kludge" of Multiboot 0.6.96, 3.1.3).

use vmmkit_guest_memory::{GuestAddress, GuestRam};

use super::MultibootError;
use super::header::{Addresses, Found};
use crate::memory_map::low_ram_end;
use crate::region::Region;

/// A kernel in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flat {
    pub(crate) entry: u64,
    pub(crate) start: u64,
    /// The first address after it, its bss included.
    pub(crate) end: u64,
    /// Bytes copied from the file.
    pub(crate) placed: u64,
}

/// Places the kernel whose header is `found`, if that says where; RAM after it is zero already, or is
/// made so.
pub(crate) fn load(
    ram: &GuestRam,
    file: &Region<'_>,
    found: &Found,
) -> Result<Option<Flat>, MultibootError> {
    let (Some(addresses), Some(entry)) = (found.addresses, found.entry) else {
        return Ok(None);
    };
    let (offset, placed, size) = extent(&addresses, found.offset.into(), file.size())?;
    let start = u64::from(addresses.load);
    if !ram.contains(GuestAddress(start), size) {
        return Err(MultibootError::OutsideRam {
            address: start,
            size,
            ram_end: low_ram_end(ram),
        });
    }
    let entry = u64::from(entry);
    let is_inside = entry
        .checked_sub(start)
        .is_some_and(|offset| offset < placed);
    if !is_inside {
        let rule = "it is not inside what is loaded";
        return field("entry_addr", entry, rule);
    }
    file.copy_to(offset, placed, ram, GuestAddress(start))
        .map_err(MultibootError::Read)?;
    let bss = usize::try_from(size.saturating_sub(placed)).unwrap_or(0);
    ram.fill(GuestAddress(start.saturating_add(placed)), bss, 0)?;
    Ok(Some(Flat {
        entry,
        start,
        end: start.saturating_add(size),
        placed,
    }))
}

/// The piece of the file: its offset, its size, and its size in memory.
fn extent(
    addresses: &Addresses,
    header_offset: u64,
    file_size: u64,
) -> Result<(u64, u64, u64), MultibootError> {
    let [header, load, load_end, bss_end] = [
        addresses.header,
        addresses.load,
        addresses.load_end,
        addresses.bss_end,
    ]
    .map(u64::from);
    let before = header
        .checked_sub(load)
        .and_then(|before| header_offset.checked_sub(before));
    let Some(offset) = before else {
        let rule = "with header_addr it lies before the start of the file";
        return field("load_addr", load, rule);
    };
    let rest = file_size.saturating_sub(offset);
    let placed = match load_end {
        0 => Some(rest),
        end => end.checked_sub(load).filter(|size| *size <= rest),
    };
    let Some(placed) = placed else {
        let rule = "it lies before load_addr, or beyond the end of the file";
        return field("load_end_addr", load_end, rule);
    };
    let size = match bss_end {
        0 => Some(placed),
        end => end.checked_sub(load).filter(|size| *size >= placed),
    };
    match size {
        Some(size) => Ok((offset, placed, size)),
        None => field("bss_end_addr", bss_end, "it lies before load_end_addr"),
    }
}

fn field<T>(field: &'static str, value: u64, rule: &'static str) -> Result<T, MultibootError> {
    Err(MultibootError::Field { field, value, rule })
}
