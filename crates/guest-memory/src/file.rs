//! Files in the guest's address space, beside its RAM: what a persistent memory device has.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::mm::{Advice, madvise};
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress};

use crate::backing::Pages;
use crate::mapping::{ALIGNMENT, map_guarded};
use crate::write_log::WriteLog;
use crate::{GuestRam, MMIO_HOLE_END, MapFileError};

/// A file to map, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileRegion {
    /// A regular file, of a whole, non-zero number of 2 MiB pages; opened for writing too if it is
    /// `shared`.
    pub file: Arc<File>,
    /// Where its first byte is for the guest: a multiple of 2 MiB, at or above
    /// [`MMIO_HOLE_END`].
    pub guest_address: GuestAddress,
    /// The number of its memory slot: none that RAM has (0 and 1).
    pub slot: u32,
    /// Whether what the guest writes ends in the file. Otherwise it is this process's own, and lost
    /// with it.
    pub shared: bool,
}

impl FileRegion {
    /// `file` at `guest_address` in the memory slot `slot`, not `shared`.
    pub fn new(file: Arc<File>, guest_address: GuestAddress, slot: u32) -> Self {
        Self {
            file,
            guest_address,
            slot,
            shared: false,
        }
    }
}

impl GuestRam {
    /// Maps a file, all of it, as memory of its own: a value that a hypervisor takes as it takes RAM,
    /// and that answers for the file's addresses alone. It is not in the dirty log, and the file must
    /// not be shortened while it is mapped: the next access to a lost page would be a SIGBUS.
    ///
    /// Core dumps of this process leave it out.
    ///
    /// # Errors
    /// [`MapFileError`] names the value that cannot be, or the host's reason.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vmmkit_guest_memory::{FileRegion, GuestAddress, GuestRam};
    /// # let path = std::env::temp_dir().join(format!("vmmkit-map-file-{}", std::process::id()));
    /// # let file = std::fs::File::options().read(true).write(true).create(true).open(&path)?;
    /// # std::fs::remove_file(&path)?;
    ///
    /// file.set_len(4 << 20)?;
    /// let mut region = FileRegion::new(Arc::new(file), GuestAddress(8 << 30), 2);
    /// region.shared = true;
    /// let memory = GuestRam::map_file(&region)?;
    /// memory.write(GuestAddress(8 << 30), 7_u64)?;
    /// // What devices reach: RAM and file.
    /// let ram = GuestRam::new(&Default::default())?;
    /// let all = ram.joined(&memory)?;
    /// assert_eq!(all.read::<u64>(GuestAddress(8 << 30))?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_file(region: &FileRegion) -> Result<Self, MapFileError> {
        let size = check(region)?;
        let map = |source| MapFileError::Map { size, source };
        let length =
            usize::try_from(size).map_err(|_| map(io::Error::from(io::ErrorKind::OutOfMemory)))?;
        let sharing = if region.shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        let (mapping, guards) = map_guarded(length, || {
            MmapRegionBuilder::new_with_bitmap(length, WriteLog::default())
                .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
                .with_mmap_flags(sharing | libc::MAP_NORESERVE)
                .with_file_offset(FileOffset::from_arc(region.file.clone(), 0))
                .build()
        })
        .map_err(|error| match error {
            MmapRegionError::Mmap(source) => map(source),
            other => map(io::Error::other(other)),
        })?;
        // SAFETY: the range is exactly `mapping`, which is borrowed and so stays mapped; the advice
        // changes neither the contents nor the validity of its pages.
        let _ = unsafe { madvise(mapping.as_ptr().cast(), length, Advice::LinuxDontDump) };
        let place = (region.slot, region.guest_address);
        Self::beside(place, mapping, guards, Pages::Keep)
    }
}

/// The size of the file, which can be where it is to be.
fn check(region: &FileRegion) -> Result<u64, MapFileError> {
    let metadata = region.file.metadata().map_err(MapFileError::Examine)?;
    if !metadata.is_file() {
        return Err(MapFileError::NotAFile);
    }
    let size = metadata.len();
    if size == 0 {
        return Err(MapFileError::Empty);
    }
    if !size.is_multiple_of(ALIGNMENT) {
        let next = size.next_multiple_of(ALIGNMENT);
        return Err(MapFileError::Size { size, next });
    }
    let address = region.guest_address.0;
    let is_possible = address.is_multiple_of(ALIGNMENT)
        && address >= MMIO_HOLE_END.0
        && address.checked_add(size).is_some();
    if !is_possible {
        return Err(MapFileError::Address { address });
    }
    Ok(size)
}

#[cfg(test)]
mod tests;
