//! The Multiboot header (Multiboot 0.6.96, 3.1; Multiboot2 2.0, 3.1).

use crate::little_endian::{u16_at, u32_at};

/// Version 1: the magic, how far into the file the header may be, and its alignment.
const MAGIC_1: u32 = 0x1bad_b002;
const SEARCH_1: usize = 8 << 10;
const ALIGN_1: usize = 4;
/// `flags`: the address fields are valid.
const HAS_ADDRESSES: u32 = 1 << 16;
/// `flags`, bits 0 to 15, which a loader must know: page-aligned modules, memory, video mode. There is
/// no video here, and kernels that ask for it run without: they are told of no framebuffer.
const KNOWN_FLAGS: u32 = 0b111;

/// Version 2, likewise.
const MAGIC_2: u32 = 0xe852_50d6;
const SEARCH_2: usize = 32 << 10;
const ALIGN_2: usize = 8;
/// `architecture`: 32-bit protected mode of i386.
const I386: u32 = 0;
/// `flags` of a tag: it may be ignored.
const OPTIONAL: u16 = 1;
/// `load_addr`: the file is loaded from its start.
const FROM_START: u32 = u32::MAX;
/// The highest type of a tag of the information.
const HIGHEST_TOLD: u32 = 21;

/// A version of Multiboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Where a file that is not an ELF goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// `header_addr`: where the header is then.
    pub(crate) header: u32,
    /// `load_addr`.
    pub(crate) load: u32,
    /// `load_end_addr`; 0: up to the file's end.
    pub(crate) load_end: u32,
    /// `bss_end_addr`; 0: there is none.
    pub(crate) bss_end: u32,
}

/// A Multiboot header that was found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: Version,
    /// Its offset in the file.
    pub(crate) offset: u32,
    /// Where the file goes, if not as its ELF headers say.
    pub(crate) addresses: Option<Addresses>,
    /// `entry_addr`.
    pub(crate) entry: Option<u32>,
    /// A requirement that is not offered: `flag` or `tag`, and its number.
    pub(crate) lacks: Option<(&'static str, u32)>,
}

impl Found {
    /// Whether the header alone says where the file goes and is entered.
    pub(crate) fn has_addresses(&self) -> bool {
        self.addresses.is_some() && self.entry.is_some()
    }
}

/// The header in `bytes`, a file's first 32 KiB; that of version 2 where there are both, unless it
/// asks for more than is offered.
pub(crate) fn find(bytes: &[u8]) -> Option<Found> {
    let one = search(bytes, SEARCH_1, ALIGN_1, version_1);
    let two = search(bytes, SEARCH_2, ALIGN_2, version_2);
    match (one, two) {
        (Some(one), Some(two)) if two.lacks.is_some() => Some(one),
        (one, two) => two.or(one),
    }
}

/// The first header that `read` finds at a multiple of `align` before `limit`.
fn search(
    bytes: &[u8],
    limit: usize,
    align: usize,
    read: fn(&[u8], u32) -> Option<Found>,
) -> Option<Found> {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    let offsets = (0..bytes.len()).step_by(align);
    offsets
        .filter_map(|offset| Some((bytes.get(offset..)?, u32::try_from(offset).ok()?)))
        .find_map(|(bytes, offset)| read(bytes, offset))
}

fn version_1(bytes: &[u8], offset: u32) -> Option<Found> {
    let word = |index: usize| u32_at(bytes, index * 4);
    let (magic, flags, checksum) = (word(0)?, word(1)?, word(2)?);
    if magic != MAGIC_1 || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
        return None;
    }
    let has_addresses = flags & HAS_ADDRESSES != 0;
    let addresses = if has_addresses {
        Some(Addresses {
            header: word(3)?,
            load: word(4)?,
            load_end: word(5)?,
            bss_end: word(6)?,
        })
    } else {
        None
    };
    let unknown = flags & 0xffff & !KNOWN_FLAGS;
    Some(Found {
        version: Version::One,
        offset,
        addresses,
        entry: word(7).filter(|_| has_addresses),
        lacks: (unknown != 0).then_some(("flag", unknown.trailing_zeros())),
    })
}

fn version_2(bytes: &[u8], offset: u32) -> Option<Found> {
    let word = |at: usize| u32_at(bytes, at);
    let (magic, architecture, length) = (word(0)?, word(4)?, word(8)?);
    let sum = [magic, architecture, length, word(12)?];
    let sum = sum.into_iter().fold(0, u32::wrapping_add);
    if magic != MAGIC_2 || sum != 0 || architecture != I386 {
        return None;
    }
    let mut found = Found {
        version: Version::Two,
        offset,
        addresses: None,
        entry: None,
        lacks: None,
    };
    let length = usize::try_from(length).ok()?;
    let mut tags = bytes.get(16..length).or_else(|| bytes.get(16..))?;
    // A tag has 8 bytes at least, so this ends.
    while let (Some(kind), Some(flags), Some(size)) =
        (u16_at(tags, 0), u16_at(tags, 2), u32_at(tags, 4))
    {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if kind == 0 || size < 8 {
            break;
        }
        let tag = tags.get(..size).unwrap_or(tags);
        if let Some(lacking) = found.take(kind, tag)
            && flags & OPTIONAL == 0
        {
            found.lacks = found.lacks.or(Some(("tag", lacking)));
        }
        let next = size.checked_next_multiple_of(ALIGN_2);
        tags = next.and_then(|next| tags.get(next..)).unwrap_or_default();
    }
    Some(found)
}

impl Found {
    /// Takes one tag of version 2; answers with what it asks for and is not offered.
    fn take(&mut self, kind: u16, tag: &[u8]) -> Option<u32> {
        let word = |index: usize| u32_at(tag, 8 + index * 4);
        match kind {
            // Kinds of information that the kernel asks for; those there are are told anyway.
            1 => (0..).map_while(word).find(|kind| *kind > HIGHEST_TOLD),
            2 => {
                let (Some(header), Some(load), Some(load_end), Some(bss_end)) =
                    (word(0), word(1), word(2), word(3))
                else {
                    return Some(kind.into());
                };
                let load = match load {
                    FROM_START => header.wrapping_sub(self.offset),
                    load => load,
                };
                self.addresses = Some(Addresses {
                    header,
                    load,
                    load_end,
                    bss_end,
                });
                None
            }
            3 => {
                self.entry = word(0);
                None
            }
            // Console and framebuffer (there is none, and none is told), page-aligned modules, the
            // entries and services of EFI (it is not EFI), relocation (it goes where it is linked).
            4..=10 => None,
            other => Some(other.into()),
        }
    }
}
