//! Recognizes, by its first bytes, a file that was given for another one.

use std::fmt;

/// How many bytes from the start decide: the volume descriptor of a CD's file system is the last.
pub(crate) const PROBE: usize = 0x9000;

/// A kind of file that people give for a kernel, an initial RAM disk or firmware by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// An ELF file.
    Elf,
    /// A Linux bzImage or zImage.
    BzImage,
    /// A PE file that is neither a bzImage nor a unified kernel image.
    Pe,
    /// A kernel for 64-bit ARM.
    Arm64,
    /// A kernel for 32-bit ARM.
    Arm,
    /// A kernel for RISC-V.
    Riscv,
    /// A U-Boot image (uImage).
    UImage,
    /// A device tree, or a U-Boot image in one (FIT).
    DeviceTree,
    /// A cpio archive, such as an initial RAM disk.
    Cpio,
    /// Compressed data; the name is that of the program that unpacks it.
    Compressed(&'static str),
    /// A tar archive.
    Tar,
    /// A zip archive.
    Zip,
    /// An archive of ar, such as a Debian package.
    Ar,
    /// A script.
    Script,
    /// An image of a CD or DVD.
    Iso,
    /// A disk image; the name is that of its format.
    Disk(&'static str),
    /// A whole disk, with a partition table.
    RawDisk,
    /// A file system.
    FileSystem(&'static str),
    /// A ROM that runs from the reset vector.
    Rom,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "an ELF file",
            Self::BzImage => "a Linux kernel (bzImage)",
            Self::Pe => "a PE file (an EFI program or a foreign kernel)",
            Self::Arm64 => "an ARM64 Image",
            Self::Arm => "a 32-bit ARM zImage",
            Self::Riscv => "a RISC-V Image",
            Self::UImage => "a U-Boot image (uImage)",
            Self::DeviceTree => "a device tree or U-Boot FIT image",
            Self::Cpio => "a cpio archive",
            Self::Compressed(program) => return write!(f, "{program} data"),
            Self::Tar => "a tar archive",
            Self::Zip => "a zip archive",
            Self::Ar => "an archive or Debian package",
            Self::Script => "a script",
            Self::Iso => "a CD image (ISO 9660)",
            Self::Disk(format) => return write!(f, "a {format} disk image"),
            Self::RawDisk => "a disk image with a partition table",
            Self::FileSystem(name) => return write!(f, "a file system ({name})"),
            Self::Rom => "a firmware ROM",
        })
    }
}

/// Magics at fixed offsets, the more telling ones first.
const MAGICS: [(usize, &[u8], FileKind); 37] = [
    (0, b"\x7fELF", FileKind::Elf),
    (0x202, b"HdrS", FileKind::BzImage),
    (0x38, b"ARMd", FileKind::Arm64),
    (0x24, &[0x18, 0x28, 0x6f, 0x01], FileKind::Arm),
    (0x38, b"RSC\x05", FileKind::Riscv),
    (0, &[0x27, 0x05, 0x19, 0x56], FileKind::UImage),
    (0, &[0xd0, 0x0d, 0xfe, 0xed], FileKind::DeviceTree),
    (0, b"070701", FileKind::Cpio),
    (0, b"070702", FileKind::Cpio),
    (0, b"070707", FileKind::Cpio),
    (0, &[0x1f, 0x8b], FileKind::Compressed("gzip")),
    (
        0,
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        FileKind::Compressed("xz"),
    ),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], FileKind::Compressed("zstd")),
    (0, b"BZh", FileKind::Compressed("bzip2")),
    (0, &[0x02, 0x21, 0x4c, 0x18], FileKind::Compressed("lz4")),
    (0, &[0x04, 0x22, 0x4d, 0x18], FileKind::Compressed("lz4")),
    (0, &[0x5d, 0x00, 0x00], FileKind::Compressed("lzma")),
    (
        0,
        &[0x89, b'L', b'Z', b'O', 0],
        FileKind::Compressed("lzop"),
    ),
    (257, b"ustar", FileKind::Tar),
    (0, b"PK\x03\x04", FileKind::Zip),
    (0, b"!<arch>\n", FileKind::Ar),
    (0, b"#!", FileKind::Script),
    (0, b"QFI\xfb", FileKind::Disk("qcow2")),
    (0, b"KDMV", FileKind::Disk("VMDK")),
    (0, b"# Disk DescriptorFile", FileKind::Disk("VMDK")),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], FileKind::Disk("VDI")),
    (0, b"vhdxfile", FileKind::Disk("VHDX")),
    (0, b"conectix", FileKind::Disk("VHD")),
    (0, b"QED\0", FileKind::Disk("QED")),
    (0x8001, b"CD001", FileKind::Iso),
    (0, b"hsqs", FileKind::FileSystem("squashfs")),
    (0, &[0x45, 0x3d, 0xcd, 0x28], FileKind::FileSystem("cramfs")),
    (0, b"-rom1fs-", FileKind::FileSystem("romfs")),
    (
        0x438,
        &[0x53, 0xef],
        FileKind::FileSystem("ext2, ext3 or ext4"),
    ),
    (
        0x400,
        &[0xe2, 0xe1, 0xf5, 0xe0],
        FileKind::FileSystem("erofs"),
    ),
    (0, b"XFSB", FileKind::FileSystem("XFS")),
    (0, b"MZ", FileKind::Pe),
];

impl FileKind {
    /// How many bytes from the start of a file decide.
    pub const PROBE: usize = PROBE;

    /// The kind of a file by `bytes`, its first [`PROBE`](Self::PROBE) or all of a smaller one. `None` where they
    /// could be anything; a [`Rom`](Self::Rom) is told by its end, and never here.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let has = |offset: usize, magic: &[u8]| {
            let rest = bytes.get(offset..);
            rest.is_some_and(|rest| rest.starts_with(magic))
        };
        let found = MAGICS.iter().find(|(offset, magic, _)| has(*offset, magic));
        if let Some((_, _, kind)) = found {
            return Some(*kind);
        }
        // A master boot record: its signature, and a partition of a kind, or a GPT behind it.
        let partition = |index: usize| {
            bytes
                .get(446 + 16 * index + 4)
                .is_some_and(|kind| *kind != 0)
        };
        let is_disk = has(512, b"EFI PART") || (has(510, &[0x55, 0xaa]) && (0..4).any(partition));
        is_disk.then_some(Self::RawDisk)
    }

    /// Whether Linux takes it as an initial RAM disk: its initramfs formats, and the file systems that
    /// its older RAM disks are images of.
    pub(crate) fn is_initrd(self) -> bool {
        matches!(self, Self::Cpio | Self::Compressed(_) | Self::FileSystem(_))
    }

    /// The next step for one that was given for a kernel.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Arm64 | Self::Arm | Self::Riscv => "only x86 kernels run here",
            Self::Cpio => "an initrd is passed as the initrd, not as the kernel",
            Self::Compressed("gzip") => {
                "decompress it with gunzip, or pass an initrd as the initrd"
            }
            Self::Compressed("zstd") => {
                "decompress it with zstd -d, or pass an initrd as the initrd"
            }
            Self::Compressed("xz") => "decompress it with xz -d, or pass an initrd as the initrd",
            Self::Compressed(_) => "decompress it, or pass an initrd as the initrd",
            Self::Tar | Self::Zip | Self::Ar => "unpack it first",
            Self::Iso | Self::Disk(_) | Self::RawDisk | Self::FileSystem(_) => {
                "give it as a disk, and a kernel or firmware that boots from it"
            }
            Self::Rom => "firmware is passed as the firmware, not as the kernel",
            Self::UImage | Self::DeviceTree => "give the vmlinux or bzImage that is inside",
            Self::Elf | Self::BzImage | Self::Pe | Self::Script => {
                "give an ELF kernel, a bzImage or a unified kernel image"
            }
        }
    }
}

/// Whether a file of `size` bytes with these last 16 looks like a ROM: whole pages of 64 KiB, and a
/// jump where the processor starts (Intel SDM vol. 3A, 10.1.4).
pub(crate) fn looks_like_rom(size: u64, last: &[u8]) -> bool {
    let is_jump = |bytes: &[u8]| matches!(bytes, [0xe9..=0xeb, ..]);
    let code = last
        .iter()
        .position(|byte| ![0x90, 0xfa, 0xfc, 0x0f, 0x09].contains(byte));
    let code = code.and_then(|at| last.get(at..)).unwrap_or_default();
    size > 0 && size.is_multiple_of(64 << 10) && last.len() == 16 && is_jump(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::put;

    #[test]
    fn a_disk_is_told_by_its_partition_table() {
        let mut disk = vec![0; 1024];
        put(&mut disk, 510, &[0x55, 0xaa]);
        assert_eq!(FileKind::of(&disk), None);
        put(&mut disk, 446 + 4, &[0x83]);
        assert_eq!(FileKind::of(&disk), Some(FileKind::RawDisk));
        assert_eq!(FileKind::of(b"hello"), None);
    }

    #[test]
    fn a_cd_is_told_though_it_starts_like_a_disk() {
        let mut cd = vec![0; PROBE];
        put(&mut cd, 510, &[0x55, 0xaa]);
        put(&mut cd, 446 + 4, &[0x17]);
        put(&mut cd, 0x8001, b"CD001");
        assert_eq!(FileKind::of(&cd), Some(FileKind::Iso));
    }

    #[test]
    fn a_rom_has_a_jump_at_its_reset_vector() {
        let mut last = [0; 16];
        assert!(!looks_like_rom(1 << 20, &last));
        last[..5].copy_from_slice(&[0xfa, 0xfc, 0xe9, 0x0b, 0xf8]);
        assert!(looks_like_rom(1 << 20, &last));
        assert!(!looks_like_rom(1000, &last));
        last[0] = 0xea;
        assert!(looks_like_rom(128 << 10, &last));
    }
}
