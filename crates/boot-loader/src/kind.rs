//! What kind of file a kernel is, by content.

use std::fs::{File, FileType};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;

use thiserror::Error;

/// How many bytes from the start decide.
const PROBE: usize = 0x210;
/// Offset of the magic `HdrS` of the Linux/x86 boot protocol, field `header`.
const HDRS: usize = 0x202;

/// A kind of kernel file that this crate loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Elf,
    BzImage,
}

/// A file that is no kernel this crate loads.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KindError {
    /// Not a file with a size.
    #[error("the kernel is {kind}: a regular file is needed")]
    NotRegular {
        /// What it is.
        kind: &'static str,
    },
    /// No byte in it.
    #[error("the kernel is an empty file (0 bytes)")]
    Empty,
    /// Known, but something else.
    #[error("the kernel file is {kind}: {advice}")]
    Other {
        /// What it is.
        kind: &'static str,
        /// What to do.
        advice: &'static str,
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
    /// It could not be read.
    #[error("cannot read the kernel file")]
    Read(#[from] io::Error),
}

/// The kind of `file` and its size in bytes.
pub(crate) fn detect(file: &mut File) -> Result<(Kind, u64), KindError> {
    let metadata = file.metadata()?;
    if let Some(kind) = irregular(&metadata.file_type()) {
        return Err(KindError::NotRegular { kind });
    }
    let mut bytes = Vec::with_capacity(PROBE);
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(PROBE as u64).read_to_end(&mut bytes)?;
    of_bytes(&bytes, metadata.len()).map(|kind| (kind, metadata.len()))
}

/// What a file that is not regular is.
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

fn of_bytes(bytes: &[u8], size: u64) -> Result<Kind, KindError> {
    if bytes.is_empty() {
        return Err(KindError::Empty);
    }
    let has = |offset: usize, magic: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if has(0, b"\x7fELF") {
        return Ok(Kind::Elf);
    }
    if has(HDRS, b"HdrS") {
        return Ok(Kind::BzImage);
    }
    let other = |kind, advice| Err(KindError::Other { kind, advice });
    if has(0x38, b"ARMd") {
        return other("an ARM64 Image", "only x86-64 kernels run here");
    }
    if has(0x24, &[0x18, 0x28, 0x6f, 0x01]) {
        return other("a 32-bit ARM zImage", "only x86-64 kernels run here");
    }
    if has(0x38, b"RSC\x05") {
        return other("a RISC-V Image", "only x86-64 kernels run here");
    }
    if has(0, b"MZ") {
        return other(
            "a PE file without a Linux setup header (a unified kernel image, an EFI program or a \
             foreign kernel)",
            "give the vmlinuz that is inside: objcopy -O binary --only-section=.linux UKI vmlinuz",
        );
    }
    if has(0, b"070701") || has(0, b"070702") || has(0, b"070707") {
        return other(
            "a cpio archive",
            "an initrd is passed as the initrd, not as the kernel",
        );
    }
    for (magic, kind, advice) in COMPRESSED {
        if has(0, magic) {
            return other(kind, advice);
        }
    }
    if has(0, b"#!") {
        return other("a script", "give an ELF vmlinux or a bzImage");
    }
    if has(0, b"!<arch>\n") {
        return other("an archive or Debian package", "unpack it first");
    }
    Err(KindError::Unknown {
        size,
        start: bytes.iter().take(8).copied().collect(),
    })
}

const COMPRESSED: [(&[u8], &str, &str); 6] = [
    (
        &[0x1f, 0x8b],
        "gzip data (a compressed vmlinux, Image.gz, or an initrd)",
        "decompress it with gunzip, or pass an initrd as the initrd",
    ),
    (
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        "xz data (a compressed vmlinux or an initrd)",
        "decompress it with xz -d, or pass an initrd as the initrd",
    ),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        "zstd data (a compressed vmlinux or an initrd)",
        "decompress it with zstd -d, or pass an initrd as the initrd",
    ),
    (
        b"BZh",
        "bzip2 data",
        "decompress it with bunzip2, or pass an initrd as the initrd",
    ),
    (
        &[0x02, 0x21, 0x4c, 0x18],
        "lz4 data (legacy frame)",
        "decompress it with lz4 -d, or pass an initrd as the initrd",
    ),
    (
        &[0x04, 0x22, 0x4d, 0x18],
        "lz4 data",
        "decompress it with lz4 -d, or pass an initrd as the initrd",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file_of;

    fn message(bytes: &[u8]) -> String {
        detect(&mut file_of(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn an_elf_and_a_bzimage_are_told_by_their_magic() {
        let mut bzimage = vec![0; 0x400];
        bzimage[HDRS..HDRS + 4].copy_from_slice(b"HdrS");

        assert_eq!(detect(&mut file_of(b"\x7fELF")).unwrap().0, Kind::Elf);
        assert_eq!(
            detect(&mut file_of(&bzimage)).unwrap(),
            (Kind::BzImage, 0x400)
        );
    }

    #[test]
    fn other_kinds_are_named_with_what_to_do() {
        let mut arm = vec![0; 64];
        arm[0x38..0x3c].copy_from_slice(b"ARMd");

        assert!(message(&[0x1f, 0x8b, 8]).contains("gunzip"));
        assert!(message(b"070701...").contains("cpio archive"));
        assert!(message(b"MZ").contains("unified kernel image"));
        assert!(message(&arm).contains("ARM64"));
        assert!(message(b"#!/bin/sh").contains("script"));
        assert_eq!(message(b""), "the kernel is an empty file (0 bytes)");
        assert!(message(b"hello").contains("starts with [68, 65, 6c, 6c, 6f]"));
    }

    #[test]
    fn a_directory_and_a_device_are_no_kernels() {
        let folder = detect(&mut File::open(std::env::temp_dir()).unwrap()).unwrap_err();
        let null = detect(&mut File::open("/dev/null").unwrap()).unwrap_err();

        assert_eq!(
            folder.to_string(),
            "the kernel is a directory: a regular file is needed"
        );
        assert!(null.to_string().contains("a character device"));
    }
}
