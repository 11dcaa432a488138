//! Reading.

use std::collections::BTreeSet;

use crate::crc32c::checksum;
use crate::{
    ENTRY, HEADER, MAGIC, MAX_SECTIONS, MAX_TABLE, MUST_UNDERSTAND, ReadError, Section, VERSION,
    check_name,
};

/// The sections of a container that nobody has taken yet.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Reader<'a> {
    /// Checks all of `bytes`: header, table, lengths and checksums.
    ///
    /// # Errors
    /// [`ReadError`]: the first thing that is wrong.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let truncated = |part: &str| ReadError::Truncated {
            length: bytes.len(),
            part: part.to_owned(),
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(ReadError::Magic);
        }
        let mut rest = bytes;
        let header = take(&mut rest, HEADER).ok_or_else(|| truncated("the header"))?;
        let version = number(header, 8, 4) as u32;
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        let (count, length) = (
            number(header, 12, 4) as usize,
            number(header, 16, 4) as usize,
        );
        if count > MAX_SECTIONS || length > MAX_TABLE {
            return Err(ReadError::Table {
                sections: count as u32,
                bytes: length as u32,
            });
        }
        let mut table = take(&mut rest, length).ok_or_else(|| truncated("the table"))?;
        if u64::from(checksum(table)) != number(header, 20, 4) {
            return Err(ReadError::TableChecksum);
        }
        let mut sections = Vec::with_capacity(count);
        let mut ids = BTreeSet::new();
        for place in 0..count {
            let entry = Entry::take(&mut table).ok_or(ReadError::Entry(place))?;
            let id = entry.id.to_owned();
            if entry.flags & !MUST_UNDERSTAND != 0 {
                let flags = entry.flags;
                return Err(ReadError::Flags { id, flags });
            }
            if !ids.insert(entry.id) {
                return Err(ReadError::Twice(id));
            }
            let contents = usize::try_from(entry.length).ok();
            let contents = contents.and_then(|length| take(&mut rest, length));
            let contents = contents.ok_or_else(|| truncated(entry.id))?;
            if checksum(contents) != entry.checksum {
                return Err(ReadError::Checksum(id));
            }
            sections.push(Section {
                id: entry.id,
                kind: entry.kind,
                version: entry.version,
                must_understand: entry.flags & MUST_UNDERSTAND != 0,
                contents,
            });
        }
        match (table.is_empty(), rest.len()) {
            (false, _) => Err(ReadError::Entry(count)),
            (true, 0) => Ok(Self { sections }),
            (true, more) => Err(ReadError::Trailing(more)),
        }
    }

    /// Sections that have been checked.
    pub(crate) fn of(sections: Vec<Section<'a>>) -> Self {
        Self { sections }
    }

    /// The sections that nobody has taken, in the order of the file.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// Takes the section `id`.
    pub fn take(&mut self, id: &str) -> Option<Section<'a>> {
        let place = self.sections.iter().position(|section| section.id == id)?;
        Some(self.sections.remove(place))
    }

    /// The sections that nobody took and that need not be understood.
    ///
    /// # Errors
    /// [`ReadError::Unknown`] for one that must be.
    pub fn finish(self) -> Result<Vec<Section<'a>>, ReadError> {
        match self.sections.iter().find(|section| section.must_understand) {
            None => Ok(self.sections),
            Some(section) => Err(ReadError::Unknown {
                id: section.id.to_owned(),
                kind: section.kind.to_owned(),
            }),
        }
    }
}

/// An entry of the table.
struct Entry<'a> {
    id: &'a str,
    kind: &'a str,
    flags: u16,
    version: u32,
    checksum: u32,
    length: u64,
}

impl<'a> Entry<'a> {
    /// The first entry of `table`; `None` where it is not one.
    fn take(table: &mut &'a [u8]) -> Option<Self> {
        let fixed = take(table, ENTRY)?;
        let id = name(take(table, number(fixed, 0, 1) as usize)?)?;
        let kind = name(take(table, number(fixed, 1, 1) as usize)?)?;
        Some(Self {
            id,
            kind,
            flags: number(fixed, 2, 2) as u16,
            version: number(fixed, 4, 4) as u32,
            checksum: number(fixed, 8, 4) as u32,
            length: number(fixed, 12, 8),
        })
    }
}

fn name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    check_name(name).ok().map(|()| name)
}

/// The first `length` bytes, which `bytes` has no more then.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}

/// The number of `width` bytes at `offset`.
fn number(bytes: &[u8], offset: usize, width: usize) -> u64 {
    let bytes = bytes.iter().skip(offset).take(width).rev();
    bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
}
