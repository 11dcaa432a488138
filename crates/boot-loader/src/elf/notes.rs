//! ELF notes: the PVH entry, and the marks of Linux.

/// Xen's `XEN_ELFNOTE_PHYS32_ENTRY`: the physical address of the 32-bit PVH entry.
const PHYS32_ENTRY: u32 = 18;
/// Xen's `XEN_ELFNOTE_GUEST_OS`: the system's name.
const GUEST_OS: u32 = 6;

/// The contents of a file's notes.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The address in the first PVH note.
    pub(super) pvh: Option<u64>,
    /// There is a note of owner `Linux`, as each kernel has since 4.19 (`LINUX_ELFNOTE_BUILD_SALT`),
    /// or one that tells Xen so, as kernels with a PVH entry had before.
    pub(super) linux: bool,
}

impl Found {
    /// Searches the `bytes` of a note segment, up to the first malformed note.
    pub(super) fn search(&mut self, mut bytes: &[u8], align: u64) {
        while let Some((note, rest)) = next(bytes, align) {
            match (note.owner, note.kind) {
                (b"Xen\0", PHYS32_ENTRY) if self.pvh.is_none() => self.pvh = address(note.data),
                (b"Xen\0", GUEST_OS) => self.linux |= note.data.starts_with(b"linux"),
                (b"Linux\0", _) => self.linux = true,
                _ => {}
            }
            bytes = rest;
        }
    }
}

struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    data: &'a [u8],
}

/// The first note of `bytes`, and what follows it.
fn next(bytes: &[u8], align: u64) -> Option<(Note<'_>, &[u8])> {
    // gABI: 4, or 8 where p_align says so; 0 and 1 are in use for 4.
    let align = if align == 8 { 8 } else { 4 };
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let [name_size, data_size, kind] = words(header);
    let name_end = padded(name_size, 4)?;
    let owner = rest.get(..usize::try_from(name_size).ok()?)?;
    // The descriptor starts aligned, counted from the note's start, 12 bytes before `rest`.
    let data_start = if align == 8 {
        padded_from(name_end, 12, 8)?
    } else {
        name_end
    };
    let data = rest.get(data_start..data_start.checked_add(usize::try_from(data_size).ok()?)?)?;
    let end = padded_from(data_start.checked_add(data.len())?, 12, align)?;
    // The last note may lack its padding.
    Some((
        Note { owner, kind, data },
        rest.get(end..).unwrap_or_default(),
    ))
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

    fn found(bytes: &[u8], align: u64) -> Found {
        let mut found = Found::default();
        found.search(bytes, align);
        found
    }

    fn pvh_entry(bytes: &[u8], align: u64) -> Option<u64> {
        found(bytes, align).pvh
    }

    #[test]
    fn linux_is_told_by_its_own_notes_and_by_what_it_tells_xen() {
        assert!(found(&note(b"Linux\0", 0x100, b"salt\0"), 4).linux);
        assert!(found(&note(b"Xen\0", 6, b"linux\0"), 4).linux);
        assert!(!found(&note(b"Xen\0", 6, b"FreeBSD\0"), 4).linux);
        assert!(!found(&note(b"GNU\0", 3, b"linux"), 4).linux);
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
