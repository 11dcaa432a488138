//! ELF notes: the search for the PVH entry.

/// Xen's `XEN_ELFNOTE_PHYS32_ENTRY`: the physical address of the 32-bit PVH entry.
const PHYS32_ENTRY: u32 = 18;

/// The address in the first PVH note of a note segment's `bytes`; `None` where there is none, or
/// a note before it is malformed.
pub(super) fn pvh_entry(mut bytes: &[u8], align: u64) -> Option<u64> {
    // gABI: 4, or 8 where p_align says so; 0 and 1 are in use for 4.
    let align = if align == 8 { 8 } else { 4 };
    loop {
        let (header, rest) = bytes.split_first_chunk::<12>()?;
        let [name_size, data_size, kind] = words(header);
        let name_end = padded(name_size, 4)?;
        let name = rest.get(..usize::try_from(name_size).ok()?)?;
        // The descriptor starts aligned, counted from the note's start, 12 bytes before `rest`.
        let data_start = if align == 8 {
            padded_from(name_end, 12, 8)?
        } else {
            name_end
        };
        let data =
            rest.get(data_start..data_start.checked_add(usize::try_from(data_size).ok()?)?)?;
        if kind == PHYS32_ENTRY && name == b"Xen\0" {
            return address(data);
        }
        let next = data_start.checked_add(data.len())?;
        let next = padded_from(next, 12, align)?;
        bytes = rest.get(next..)?;
    }
}

fn words(header: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *header;
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([i, j, k, l]),
    ]
}

fn padded(size: u32, align: usize) -> Option<usize> {
    usize::try_from(size).ok()?.checked_next_multiple_of(align)
}

/// `offset` padded so that `offset + base` is a multiple of `align`.
fn padded_from(offset: usize, base: usize, align: usize) -> Option<usize> {
    offset
        .checked_add(base)?
        .checked_next_multiple_of(align)?
        .checked_sub(base)
}

/// Linux writes 4 or 8 bytes, by version.
fn address(data: &[u8]) -> Option<u64> {
    match data.len() {
        4 => data
            .first_chunk::<4>()
            .map(|bytes| u32::from_le_bytes(*bytes).into()),
        8 => data
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_pvh_note_is_found_after_others() {
        let mut bytes = note(b"GNU\0", 3, &[1; 20]);
        bytes.extend(note(b"Linux\0", 0x101, &[0]));
        bytes.extend(note(b"Xen\0", 18, &0x100_0600_u64.to_le_bytes()));

        assert_eq!(pvh_entry(&bytes, 4), Some(0x100_0600));
    }

    #[test]
    fn another_owner_or_type_is_not_it() {
        assert_eq!(pvh_entry(&note(b"GNU\0", 18, &[0; 4]), 4), None);
        assert_eq!(pvh_entry(&note(b"Xen\0", 17, &[0; 4]), 4), None);
    }

    #[test]
    fn a_size_that_lies_ends_the_search() {
        let mut bytes = note(b"Xen\0", 18, &[0; 4]);
        bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(pvh_entry(&bytes, 4), None);

        let mut bytes = note(b"Xen\0", 18, &[0; 4]);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(pvh_entry(&bytes, 8), None);
    }
}
