//! The initial RAM disk and boot modules: page aligned, read straight into RAM. The RAM disk lies as
//! high as the kernel's limits allow, Multiboot's modules behind the kernel, where kernels look that
//! map little memory.

use std::io;

use thiserror::Error;
use vmmkit_guest_memory::{GuestAddress, GuestRam, PAGE_SIZE};

use crate::Placed;
use crate::file_kind::{self, FileKind};
use crate::memory_map::low_ram_end;
use crate::region::Region;

/// The highest address an initrd may cover where the kernel's header does not say: the value
/// that 64-bit Linux itself writes to `initrd_addr_max`.
pub(crate) const DEFAULT_ADDRESS_MAX: u64 = 0x7fff_ffff;

/// The same of a kernel with a boot protocol before 2.03, which has no `initrd_addr_max`.
pub(crate) const OLD_ADDRESS_MAX: u64 = 0x37ff_ffff;

/// Which end of the free memory a file goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Low,
    High,
}

/// Where there is room: from `floor` up to `address_max`, which is inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) floor: u64,
    pub(crate) address_max: u64,
    pub(crate) end: End,
}

impl Room {
    /// The room that is left on the side from which `placed` took its own.
    pub(crate) fn without(self, placed: Placed) -> Self {
        match self.end {
            End::Low => Self {
                floor: placed.start.0.saturating_add(placed.size),
                ..self
            },
            End::High => Self {
                address_max: placed.start.0.saturating_sub(1),
                ..self
            },
        }
    }
}

/// Why an initrd or a boot module cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// Not a file with a size: a directory, a pipe or a device.
    #[error("the initrd is {kind}: a regular file is needed")]
    NotRegular {
        /// Its kind.
        kind: &'static str,
    },
    /// No byte in it.
    #[error("the initrd is empty (0 bytes)")]
    Empty,
    /// Nothing that Linux takes as an initrd.
    #[error(
        "the initrd is {}: Linux takes a cpio archive, compressed or not", kind_text(.kind, .start)
    )]
    NotInitrd {
        /// Its kind, where that is known.
        kind: Option<FileKind>,
        /// Its first bytes, at most 8.
        start: Vec<u8>,
    },
    /// It does not fit between the kernel and its own limit.
    #[error(
        "the initrd of {size} bytes does not fit: {room} bytes are free from the kernel's end at \
         {floor:#x} up to {ceiling:#x}; give the guest more memory or use a smaller initrd"
    )]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// Bytes free for it.
        room: u64,
        /// The end of the kernel, rounded up to a page.
        floor: u64,
        /// The first address it may not cover: the end of RAM or of the kernel's reach.
        ceiling: u64,
    },
    /// Its size could not be had.
    #[error("cannot inspect the initrd file")]
    Inspect(#[source] io::Error),
    /// It could not be read.
    #[error("cannot read the initrd of {size} bytes")]
    Read {
        /// Its size in bytes.
        size: u64,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

fn kind_text(kind: &Option<FileKind>, start: &[u8]) -> String {
    match kind {
        Some(kind) => kind.to_string(),
        None => format!("of an unknown kind (it starts with {start:02x?})"),
    }
}

/// Refuses what Linux would not take as an initrd. Zeroes before an archive are part of it.
pub(crate) fn check(file: &Region<'_>) -> Result<(), InitrdError> {
    let size = file.size();
    let bytes = file
        .bytes(0, file_kind::PROBE)
        .map_err(|source| InitrdError::Read { size, source })?;
    let kind = FileKind::of(&bytes);
    let starts_with_zeroes = bytes.starts_with(&[0; 4]);
    let is_initrd = kind.map_or(starts_with_zeroes, FileKind::is_initrd);
    if is_initrd || bytes.is_empty() {
        return Ok(());
    }
    let start = bytes.iter().take(8).copied().collect();
    Err(InitrdError::NotInitrd { kind, start })
}

/// Loads `parts`, one behind the other, where there is `room`.
pub(crate) fn load(
    ram: &GuestRam,
    parts: &[Region<'_>],
    room: Room,
) -> Result<Placed, InitrdError> {
    let size = parts
        .iter()
        .fold(0_u64, |size, part| size.saturating_add(part.size()));
    if size == 0 {
        return Err(InitrdError::Empty);
    }
    let start = place(size, room, low_ram_end(ram))?;
    let mut at = start;
    for part in parts {
        let length = part.size();
        part.copy_to(0, length, ram, at)
            .map_err(|source| InitrdError::Read { size, source })?;
        at = GuestAddress(at.0.saturating_add(length));
    }
    Ok(Placed { start, size })
}

fn place(size: u64, room: Room, ram_end: u64) -> Result<GuestAddress, InitrdError> {
    let ceiling = ram_end.min(room.address_max.saturating_add(1));
    let floor = room.floor.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    let highest = ceiling
        .checked_sub(size)
        .map(|start| start & !(PAGE_SIZE - 1));
    match highest {
        Some(highest) if highest >= floor => Ok(GuestAddress(match room.end {
            End::High => highest,
            End::Low => floor,
        })),
        _ => {
            let room = ceiling.saturating_sub(floor);
            Err(InitrdError::TooLarge {
                size,
                room,
                floor,
                ceiling,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{file_of, put, ram};

    const HIGH: Room = Room {
        floor: 0x20_0000,
        address_max: 0x7fff_ffff,
        end: End::High,
    };

    #[test]
    fn it_lies_page_aligned_at_the_top_of_ram_and_its_parts_follow_each_other() {
        let ram = ram(16);
        let (one, two) = (file_of(&[7; 5000]), file_of(&[8; 2]));
        let parts = [Region::new(&one, 0, 5000), Region::new(&two, 0, 2)];

        let placed = load(&ram, &parts, HIGH).unwrap();

        assert_eq!(placed.start, GuestAddress((16 << 20) - 8192));
        assert_eq!(placed.size, 5002);
        let seam = GuestAddress(placed.start.0 + 4999);
        assert_eq!(ram.read::<u16>(seam).unwrap(), 0x0807);
    }

    #[test]
    fn the_kernels_address_limit_is_inclusive() {
        let room = Room {
            address_max: 0x37ff_ffff,
            ..HIGH
        };
        let at = place(4096, room, 1 << 32).unwrap();
        assert_eq!(at, GuestAddress(0x3800_0000 - 4096));
    }

    #[test]
    fn a_module_lies_right_behind_the_kernel() {
        let room = Room {
            floor: 0x20_0001,
            end: End::Low,
            ..HIGH
        };
        assert_eq!(place(1, room, 1 << 32).unwrap(), GuestAddress(0x20_1000));
    }

    #[test]
    fn it_never_overlaps_the_kernel() {
        let error = place(0x10_0001, HIGH, 0x30_0000).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the initrd of 1048577 bytes does not fit: 1048576 bytes are free from the kernel's \
             end at 0x200000 up to 0x300000; give the guest more memory or use a smaller initrd"
        );
    }

    #[test]
    fn an_empty_file_is_refused() {
        let file = file_of(&[]);
        let empty = load(&ram(2), &[Region::new(&file, 0, 0)], HIGH).unwrap_err();
        assert_eq!(empty.to_string(), "the initrd is empty (0 bytes)");
    }

    #[test]
    fn what_linux_would_not_take_is_refused() {
        let checked = |bytes: &[u8]| {
            let file = file_of(bytes);
            check(&Region::new(&file, 0, bytes.len() as u64))
        };
        let mut ext2 = vec![0; 2048];
        put(&mut ext2, 0x438, &[0x53, 0xef]);
        for good in [&b"070701"[..], &[0x1f, 0x8b], &[0, 0, 0, 0, b'0'], &ext2] {
            assert!(checked(good).is_ok(), "{good:02x?}");
        }
        let table: [(&[u8], &str); 4] = [
            (b"QFI\xfb", "the initrd is a qcow2 disk image: "),
            (b"\x7fELF", "the initrd is an ELF file: "),
            (b"#!/bin/sh", "the initrd is a script: "),
            (
                b"hello",
                "of an unknown kind (it starts with [68, 65, 6c, 6c, 6f])",
            ),
        ];
        for (bad, expected) in table {
            let message = checked(bad).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
