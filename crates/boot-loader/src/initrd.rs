//! The initial RAM disk: as high as the kernel's limits allow, page aligned, read straight into
//! RAM.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use thiserror::Error;
use vmmkit_guest_memory::{GuestAddress, GuestRam, PAGE_SIZE};

use crate::Placed;
use crate::memory_map::low_ram_end;

/// The highest address an initrd may cover where the kernel's header does not say: the value
/// that 64-bit Linux itself writes to `initrd_addr_max`.
pub(crate) const DEFAULT_ADDRESS_MAX: u64 = 0x7fff_ffff;

/// Why an initrd cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// Not a file with a size: a directory, a pipe or a device.
    #[error("the initrd is {kind}: a regular file is needed")]
    NotRegular {
        /// What it is.
        kind: &'static str,
    },
    /// No byte in it.
    #[error("the initrd is empty (0 bytes)")]
    Empty,
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

/// Loads `file` between `kernel_end` and `address_max` (inclusive).
pub(crate) fn load(
    ram: &GuestRam,
    file: &mut File,
    kernel_end: u64,
    address_max: u64,
) -> Result<Placed, InitrdError> {
    let metadata = file.metadata().map_err(InitrdError::Inspect)?;
    if let Some(kind) = crate::kind::irregular(&metadata.file_type()) {
        return Err(InitrdError::NotRegular { kind });
    }
    let size = metadata.len();
    if size == 0 {
        return Err(InitrdError::Empty);
    }
    let start = place(size, kernel_end, low_ram_end(ram), address_max)?;
    let failed = |source| InitrdError::Read { size, source };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let length = usize::try_from(size).map_err(|error| failed(io::Error::other(error)))?;
    ram.read_volatile_from(file, start, length)
        .map_err(|error| failed(io::Error::other(error)))?;
    Ok(Placed { start, size })
}

fn place(
    size: u64,
    kernel_end: u64,
    ram_end: u64,
    address_max: u64,
) -> Result<GuestAddress, InitrdError> {
    let ceiling = ram_end.min(address_max.saturating_add(1));
    let floor = kernel_end.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    let start = ceiling
        .checked_sub(size)
        .map(|start| start & !(PAGE_SIZE - 1));
    match start {
        Some(start) if start >= floor => Ok(GuestAddress(start)),
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
    use crate::testing::{file_of, ram};

    #[test]
    fn it_lies_page_aligned_at_the_top_of_ram() {
        let ram = ram(16);

        let placed = load(&ram, &mut file_of(&[7; 5000]), 0x20_0000, 0x7fff_ffff).unwrap();

        assert_eq!(placed.start, GuestAddress((16 << 20) - 8192));
        assert_eq!(placed.size, 5000);
        assert_eq!(
            ram.read::<u8>(GuestAddress(placed.start.0 + 4999)).unwrap(),
            7
        );
    }

    #[test]
    fn the_kernels_address_limit_is_inclusive() {
        let at = place(4096, 0x20_0000, 1 << 32, 0x37ff_ffff).unwrap();

        assert_eq!(at, GuestAddress(0x3800_0000 - 4096));
    }

    #[test]
    fn it_never_overlaps_the_kernel() {
        let error = place(0x10_0001, 0x20_0000, 0x30_0000, 0x7fff_ffff).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the initrd of 1048577 bytes does not fit: 1048576 bytes are free from the kernel's \
             end at 0x200000 up to 0x300000; give the guest more memory or use a smaller initrd"
        );
    }

    #[test]
    fn an_empty_file_and_a_directory_are_refused() {
        let ram = ram(2);
        let empty = load(&ram, &mut file_of(&[]), 0, 0x7fff_ffff).unwrap_err();
        let mut directory = File::open(std::env::temp_dir()).unwrap();
        let folder = load(&ram, &mut directory, 0, 0x7fff_ffff).unwrap_err();

        assert_eq!(empty.to_string(), "the initrd is empty (0 bytes)");
        assert_eq!(
            folder.to_string(),
            "the initrd is a directory: a regular file is needed"
        );
    }
}
