//! Writing.

use crate::crc32c::checksum;
use crate::{MAGIC, MAX_SECTIONS, MUST_UNDERSTAND, Section, VERSION, WriteError, check_name};

/// Collects sections.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    ids: Vec<String>,
    table: Vec<u8>,
    contents: Vec<u8>,
}

impl Writer {
    /// A container without sections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section behind the others.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is added then.
    pub fn add(&mut self, section: Section<'_>) -> Result<(), WriteError> {
        let id = section.id.to_owned();
        if let Err(fault) = check_name(section.id) {
            return Err(WriteError::Id { id, fault });
        }
        if let Err(fault) = check_name(section.kind) {
            let kind = section.kind.to_owned();
            return Err(WriteError::Kind { id, kind, fault });
        }
        if self.ids.contains(&id) {
            return Err(WriteError::Twice(id));
        }
        if self.ids.len() >= MAX_SECTIONS {
            return Err(WriteError::Sections);
        }
        self.ids.push(id);
        let flags = if section.must_understand {
            MUST_UNDERSTAND
        } else {
            0
        };
        // `check_name` has seen that both fit into a byte.
        let lengths = [section.id.len() as u8, section.kind.len() as u8];
        self.table.extend(lengths);
        self.table.extend(flags.to_le_bytes());
        self.table.extend(section.version.to_le_bytes());
        self.table.extend(checksum(section.contents).to_le_bytes());
        let length = section.contents.len() as u64;
        self.table.extend(length.to_le_bytes());
        self.table.extend(section.id.bytes());
        self.table.extend(section.kind.bytes());
        self.contents.extend(section.contents);
        Ok(())
    }

    /// The bytes of the container.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        // 1024 sections of 148 bytes at most: both fit.
        bytes.extend((self.ids.len() as u32).to_le_bytes());
        bytes.extend((self.table.len() as u32).to_le_bytes());
        bytes.extend(checksum(&self.table).to_le_bytes());
        bytes.extend(self.table);
        bytes.extend(self.contents);
        bytes
    }
}
