//! The items that firmware can select, and the files among them.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::spec::{
    CPUS_ITEM, DIRECTORY_ITEM, FIRST_FILE, ID, ID_ITEM, MAX_CPUS_ITEM, MAX_FILES, NAME_SIZE,
    SIGNATURE, SIGNATURE_ITEM,
};

/// Why there is no such file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The name has 1 to 55 ASCII characters.
    #[error("fw_cfg file {name:?}: a name has 1 to 55 ASCII characters")]
    Name {
        /// The name.
        name: String,
    },
    /// There is one of that name.
    #[error("fw_cfg file {name:?}: there are two")]
    Twice {
        /// The name.
        name: String,
    },
    /// A directory says a size in 32 bits.
    #[error("fw_cfg file {name:?}: {size} bytes are more than 4 GiB")]
    Size {
        /// The name.
        name: String,
        /// The size in bytes.
        size: u64,
    },
    /// There are [`MAX_FILES`] already.
    #[error("fw_cfg file {name:?}: there are {MAX_FILES} files already")]
    TooMany {
        /// The name.
        name: String,
    },
}

/// The contents of a device: numbered items, and files with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    numbered: BTreeMap<u16, Box<[u8]>>,
    // In the order of their names, as firmware may expect of the directory.
    files: BTreeMap<String, Box<[u8]>>,
}

impl Default for Items {
    fn default() -> Self {
        Self::new()
    }
}

impl Items {
    /// The signature and the revision alone.
    pub fn new() -> Self {
        let mut items = Self {
            numbered: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        items.insert(SIGNATURE_ITEM, SIGNATURE);
        items.insert(ID_ITEM, &ID.to_le_bytes());
        items
    }

    /// The same for a machine of `present` vCPUs whose APIC IDs are below `max`.
    #[must_use]
    pub fn with_cpus(mut self, present: u16, max: u16) -> Self {
        self.insert(CPUS_ITEM, &present.to_le_bytes());
        self.insert(MAX_CPUS_ITEM, &max.to_le_bytes());
        self
    }

    /// Sets the item `number`. Those of files and of their directory are set by
    /// [`add_file`](Self::add_file) alone: `contents` would be hidden by them.
    pub fn insert(&mut self, number: u16, contents: &[u8]) {
        self.numbered.insert(number, contents.into());
    }

    /// Adds the file `name`.
    ///
    /// # Errors
    /// [`FileError`]: the name, the size, or the number of files.
    pub fn add_file(
        &mut self,
        name: &str,
        contents: impl Into<Box<[u8]>>,
    ) -> Result<(), FileError> {
        let (name, contents) = (name.to_owned(), contents.into());
        let is_printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() >= NAME_SIZE || !is_printable {
            return Err(FileError::Name { name });
        }
        if self.files.contains_key(&name) {
            return Err(FileError::Twice { name });
        }
        if self.files.len() >= MAX_FILES {
            return Err(FileError::TooMany { name });
        }
        if u32::try_from(contents.len()).is_err() {
            let size = contents.len() as u64;
            return Err(FileError::Size { name, size });
        }
        self.files.insert(name, contents);
        Ok(())
    }

    /// The names and sizes in bytes of the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files
            .iter()
            .map(|(name, contents)| (name.as_str(), contents.len()))
    }

    /// All items by their numbers, the directory among them.
    pub(crate) fn numbered(self) -> BTreeMap<u16, Box<[u8]>> {
        let Self {
            mut numbered,
            files,
        } = self;
        // At most MAX_FILES.
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (number, (name, contents)) in (FIRST_FILE..).zip(files) {
            directory.extend(entry(&name, contents.len(), number));
            numbered.insert(number, contents);
        }
        numbered.insert(DIRECTORY_ITEM, directory.into());
        numbered
    }
}

/// The directory's entry of a file.
fn entry(name: &str, size: usize, number: u16) -> Vec<u8> {
    // At most 4 GiB, as `add_file` has seen to it.
    let mut entry = (size as u32).to_be_bytes().to_vec();
    entry.extend(number.to_be_bytes());
    entry.extend([0; 2]); // reserved
    entry.extend(name.as_bytes());
    entry.resize(crate::spec::ENTRY_SIZE, 0);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ENTRY_SIZE;

    #[test]
    fn the_directory_names_each_file_with_its_size_and_item() {
        let mut items = Items::new();
        items.add_file("etc/e820", vec![1; 40]).unwrap();
        items.add_file("bootorder", vec![2; 300]).unwrap();

        let numbered = items.numbered();

        let directory = &numbered[&DIRECTORY_ITEM];
        assert_eq!(directory.len(), 4 + 2 * ENTRY_SIZE);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        // By name: bootorder first.
        assert_eq!(directory[4..12], [0, 0, 1, 44, 0, 0x20, 0, 0]);
        assert_eq!(&directory[12..22], b"bootorder\0");
        assert_eq!(
            directory[4 + ENTRY_SIZE..][..8],
            [0, 0, 0, 40, 0, 0x21, 0, 0]
        );
        assert_eq!(*numbered[&0x20], [2; 300]);
        assert_eq!(*numbered[&0x21], [1; 40]);
    }

    #[test]
    fn a_file_that_no_directory_can_name_is_refused() {
        let mut items = Items::new();
        for name in ["", "with space", "ä", &"x".repeat(56)] {
            let error = items.add_file(name, []).unwrap_err();
            assert_eq!(error, FileError::Name { name: name.into() });
        }
        items.add_file(&"x".repeat(55), []).unwrap();
        let error = items.add_file(&"x".repeat(55), []).unwrap_err();
        assert!(matches!(error, FileError::Twice { .. }), "{error}");
        for number in 1..MAX_FILES {
            items.add_file(&format!("file{number}"), []).unwrap();
        }
        let error = items.add_file("more", []).unwrap_err();
        assert_eq!(
            error,
            FileError::TooMany {
                name: "more".into()
            }
        );
    }
}
