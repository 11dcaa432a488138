//! Recognizes the kind of a kernel file by content.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;

use thiserror::Error;

use crate::file_kind::{self, FileKind};
use crate::multiboot::{self, Found};
use crate::region::Region;
use crate::uki::{self, Uki};

/// A kind of kernel file that this crate loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ELF, and the Multiboot header in it.
    Elf(Option<Found>),
    BzImage,
    /// Neither, with a Multiboot header that says where it goes.
    Flat(Found),
    Uki(Uki),
}

/// A file that is not a kernel this crate loads.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KindError {
    /// Not a file with a size.
    #[error("the kernel is {kind}: a regular file is needed")]
    NotRegular {
        /// Its kind.
        kind: &'static str,
    },
    /// No byte in it.
    #[error("the kernel is an empty file (0 bytes)")]
    Empty,
    /// Known, but something else.
    #[error("the kernel file is {kind}: {}", .kind.advice())]
    Other {
        /// Its kind.
        kind: FileKind,
    },
    /// Not known at all.
    #[error(
        "the kernel file of {size} bytes starts with {start:02x?}: neither an ELF (7f 45 4c 46) \
         nor a bzImage (\"HdrS\" at 0x202)"
    )]
    Unknown {
        /// Its size in bytes.
        size: u64,
        /// Its first bytes, at most 8.
        start: Vec<u8>,
    },
    /// A section of a unified kernel image that is not all in the file.
    #[error("the kernel's section {name} ends at {end:#x}, and the file at {size:#x}")]
    Section {
        /// The section's name.
        name: String,
        /// Where it would end.
        end: u64,
        /// The file's size in bytes.
        size: u64,
    },
    /// It could not be read.
    #[error("cannot read the kernel file")]
    Read(#[from] io::Error),
}

/// The kind of `file`.
pub(crate) fn detect(file: &Region<'_>) -> Result<Kind, KindError> {
    let bytes = file.bytes(0, file_kind::PROBE)?;
    if bytes.is_empty() {
        return Err(KindError::Empty);
    }
    let multiboot = multiboot::find(&bytes);
    let kind = match FileKind::of(&bytes) {
        Some(FileKind::Elf) => return Ok(Kind::Elf(multiboot)),
        Some(FileKind::BzImage) => return Ok(Kind::BzImage),
        Some(FileKind::Pe) => match uki::read(file)? {
            Some(uki) => return Ok(Kind::Uki(uki)),
            None => Some(FileKind::Pe),
        },
        other => other,
    };
    if let Some(found) = multiboot.filter(Found::has_addresses) {
        return Ok(Kind::Flat(found));
    }
    let size = file.size();
    let last = file.bytes(size.saturating_sub(16), 16)?;
    let is_rom = file_kind::looks_like_rom(size, &last);
    match kind.or(is_rom.then_some(FileKind::Rom)) {
        Some(kind) => Err(KindError::Other { kind }),
        None => Err(KindError::Unknown {
            size,
            start: bytes.iter().take(8).copied().collect(),
        }),
    }
}

/// Names the kind of a file that is not regular.
pub(crate) fn irregular(kind: &FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a FIFO or pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_block_device() {
        Some("a block device")
    } else {
        Some("a character device")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::testing::{file_of, put};

    fn of(bytes: &[u8]) -> Result<Kind, KindError> {
        detect(&Region::new(&file_of(bytes), 0, bytes.len() as u64))
    }

    fn message(bytes: &[u8]) -> String {
        of(bytes).unwrap_err().to_string()
    }

    #[test]
    fn an_elf_and_a_bzimage_are_told_by_their_magic() {
        let mut bzimage = vec![0; 0x400];
        put(&mut bzimage, 0x202, b"HdrS");

        assert_eq!(of(b"\x7fELF").unwrap(), Kind::Elf(None));
        assert_eq!(of(&bzimage).unwrap(), Kind::BzImage);
    }

    #[test]
    fn other_kinds_are_named_with_what_to_do() {
        let mut arm = vec![0; 64];
        put(&mut arm, 0x38, b"ARMd");
        let mut rom = vec![0; 64 << 10];
        put(&mut rom, (64 << 10) - 16, &[0xea, 0x5b, 0xe0, 0, 0xf0]);

        assert!(message(&[0x1f, 0x8b, 8]).contains("gunzip"));
        assert!(message(b"070701...").contains("cpio archive"));
        assert!(message(b"MZ").contains("unified kernel image"));
        assert!(message(&arm).contains("ARM64"));
        assert!(message(b"#!/bin/sh").contains("script"));
        assert!(message(b"QFI\xfb").contains("a qcow2 disk image"));
        assert!(message(&rom).contains("a firmware ROM"));
        assert_eq!(message(b""), "the kernel is an empty file (0 bytes)");
        assert!(message(b"hello").contains("starts with [68, 65, 6c, 6c, 6f]"));
    }

    #[test]
    fn a_directory_and_a_device_are_not_regular_files() {
        let kind = |path: &std::path::Path| {
            let metadata = File::open(path).unwrap().metadata().unwrap();
            irregular(&metadata.file_type())
        };
        assert_eq!(kind(&std::env::temp_dir()), Some("a directory"));
        assert_eq!(kind("/dev/null".as_ref()), Some("a character device"));
        assert_eq!(kind("/proc/self/exe".as_ref()), None);
    }
}
