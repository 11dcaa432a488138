//! Files that are not raw disks, judged by what they begin or end with: a guest would get, and write over, the
//! bytes of their container.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A format that is not the disk itself, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignFormat {
    /// QEMU's, versions 2 and 3, which [`DiskFormat::Qcow2`](super::DiskFormat) reads.
    Qcow2,
    /// Another one that qemu-img converts; its name there.
    Image(&'static str),
    /// A compressed file or an archive, by the name of the program that made it. A guest that cannot
    /// write it may have it as a disk.
    Compressed(&'static str),
    /// The image of a CD or DVD (ISO 9660). A guest that cannot write it may have it as a disk.
    Iso,
    /// An image that qemu-img does not know, by its name.
    Unknown(&'static str),
}

/// The bytes of a format at this offset.
type Magic = (usize, &'static [u8], ForeignFormat);

const BEGINNINGS: &[Magic] = &[
    (0, b"QFI\xfb\0\0\0\x01", ForeignFormat::Image("qcow")),
    (0, b"QFI\xfb", ForeignFormat::Qcow2),
    // Of VMware: hosted sparse, ESX sparse, SE sparse, and a text that names the files of the data.
    (0, b"KDMV", ForeignFormat::Image("vmdk")),
    (0, b"COWD", ForeignFormat::Image("vmdk")),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", ForeignFormat::Image("vmdk")),
    (0, b"# Disk DescriptorFile", ForeignFormat::Image("vmdk")),
    (64, b"\x7f\x10\xda\xbe", ForeignFormat::Image("vdi")),
    (0, b"vhdxfile", ForeignFormat::Image("vhdx")),
    (0, b"conectix", ForeignFormat::Image("vpc")),
    (0, b"QED\0", ForeignFormat::Image("qed")),
    (0, b"WithoutFreeSpace", ForeignFormat::Image("parallels")),
    (0, b"WithouFreSpacExt", ForeignFormat::Image("parallels")),
    (0, b"LUKS\xba\xbe", ForeignFormat::Image("luks")),
    (0, b"Bochs Virtual HD Image", ForeignFormat::Image("bochs")),
    (
        0,
        b"#!/bin/sh\n#V2.0 Format\n",
        ForeignFormat::Image("cloop"),
    ),
    // Of Apple.
    (0, b"sprs", ForeignFormat::Unknown("sparseimage")),
    (0, b"shdw", ForeignFormat::Unknown("asif")),
    (0, b"\x1f\x8b\x08", ForeignFormat::Compressed("gzip")),
    (0, b"\xfd7zXZ\0", ForeignFormat::Compressed("xz")),
    (0, b"\x28\xb5\x2f\xfd", ForeignFormat::Compressed("zstd")),
    (0, b"\x04\x22\x4d\x18", ForeignFormat::Compressed("lz4")),
    (4, b"1AY&SY", ForeignFormat::Compressed("bzip2")),
    (0, b"LZIP", ForeignFormat::Compressed("lzip")),
    (0, b"7z\xbc\xaf\x27\x1c", ForeignFormat::Compressed("7z")),
    (0, b"PK\x03\x04", ForeignFormat::Compressed("unzip")),
    // A primary volume descriptor, in sector 16 of 2,048 bytes.
    (32768, b"\x01CD001", ForeignFormat::Iso),
];

/// Offsets are from the last 512 bytes: of a VHD of fixed size, and of Apple's disk images.
const ENDS: &[Magic] = &[
    (0, b"conectix", ForeignFormat::Image("vpc")),
    (0, b"koly", ForeignFormat::Image("dmg")),
];

impl ForeignFormat {
    /// The format of a file that is not a raw disk, as far as that can be seen. The file's position moves.
    ///
    /// # Errors
    /// The host's.
    pub fn of(mut file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; 32];
        let mut has = |at: u64, (offset, magic, format): &Magic| {
            let place = bytes.get_mut(..magic.len()).unwrap_or_default();
            let read = file.read_exact_at(place, at + *offset as u64);
            (read.is_ok() && place == *magic).then_some(*format)
        };
        if let Some(found) = BEGINNINGS.iter().find_map(|magic| has(0, magic)) {
            return Ok(Some(found));
        }
        let Some(end) = file.seek(SeekFrom::End(0))?.checked_sub(512) else {
            return Ok(None);
        };
        // Some VHDs have a footer of 511 bytes.
        let mut ends = ENDS.iter();
        Ok(ends.find_map(|magic| has(end, magic).or_else(|| has(end + 1, magic))))
    }

    /// Whether a guest that only reads may have it as it is.
    pub(super) fn can_be_read(self) -> bool {
        matches!(self, Self::Compressed(_) | Self::Iso)
    }

    /// Its common name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Iso => "ISO 9660",
            Self::Image(name) | Self::Compressed(name) | Self::Unknown(name) => name,
        }
    }
}
