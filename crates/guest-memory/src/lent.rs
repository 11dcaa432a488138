//! RAM that an embedder has mapped already.

use std::sync::Arc;

use vm_memory::bitmap::Bitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
};

use crate::backing::Pages;
use crate::beside::Beside;
use crate::mapping::Mapping;
use crate::write_log::WriteLog;
use crate::{GuestRam, LentMemoryError, RamRegion};

impl GuestRam {
    /// The memory that an embedder made with vm-memory, in whatever layout, as RAM for the devices, loaders and
    /// hypervisors here; nothing is copied or mapped anew. `slots` has the number of the memory slot of each
    /// region, in the order of the regions.
    ///
    /// `memory` may be dropped afterwards: each region stays mapped for as long as somebody holds this. Writes are
    /// noted in the dirty bitmaps that the regions have, and [`take_dirty_pages`](Self::take_dirty_pages) has none.
    /// [`discard`](Self::discard) gives back private anonymous pages alone, and keeps those of files. Accesses
    /// in the middle of a region that lies beside the layout of [`RamConfig`](crate::RamConfig) take a look at the
    /// regions, one after the other.
    ///
    /// # Errors
    /// [`LentMemoryError`]: no region, one that cannot be read and written or is not of whole pages, slots that are
    /// too few or the same.
    ///
    /// ```
    /// use vm_memory::{GuestAddress, GuestMemoryMmap};
    /// use vmmkit_guest_memory::GuestRam;
    ///
    /// let mine: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[
    ///     (GuestAddress(0), 64 << 20),
    ///     (GuestAddress(8 << 30), 64 << 20),
    /// ])?;
    /// let ram = GuestRam::from_memory(&mine, [7, 9])?;
    /// ram.write(GuestAddress(8 << 30), 42_u64)?;
    /// assert_eq!(ram.regions()[1].slot, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_memory<B: Bitmap + Send + Sync + 'static>(
        memory: &GuestMemoryMmap<B>,
        slots: impl IntoIterator<Item = u32>,
    ) -> Result<Self, LentMemoryError> {
        let mut slots = slots.into_iter();
        let mut lent: Vec<Beside> = Vec::new();
        for region in memory.iter() {
            let (address, size) = (region.start_addr(), region.len());
            let slot = slots
                .next()
                .ok_or(LentMemoryError::NoSlot { address: address.0 })?;
            if let Some(first) = lent.iter().find(|one| one.region().slot == slot) {
                let first = first.region().guest_address.0;
                return Err(LentMemoryError::SameSlot {
                    slot,
                    first,
                    second: address.0,
                });
            }
            let mmap = region.get_mmap();
            let pages = pages(&mmap);
            let mapping = borrow(mmap, address.0)?;
            let ram_region = RamRegion {
                slot,
                guest_address: address,
                size,
                host_address: mapping.as_ptr() as u64,
            };
            let mapped = GuestRegionMmap::new(mapping, address);
            let mapped = mapped.ok_or(LentMemoryError::Region {
                address: address.0,
                size,
            })?;
            lent.push(Beside::new(ram_region, Arc::new(mapped), pages));
        }
        if lent.is_empty() {
            return Err(LentMemoryError::Empty);
        }
        Self::of_beside(lent).ok_or(LentMemoryError::Empty)
    }
}

/// How the pages of a region may become zero without being touched: what others map stays as it is.
fn pages<B: Bitmap>(region: &MmapRegion<B>) -> Pages {
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if region.flags() & private == private && region.is_hugetlbfs() != Some(true) {
        Pages::Private
    } else {
        Pages::Keep
    }
}

/// The same memory as a mapping of ours, which keeps `region` mapped and notes writes in its bitmap.
fn borrow<B: Bitmap + Send + Sync + 'static>(
    region: Arc<MmapRegion<B>>,
    address: u64,
) -> Result<Mapping, LentMemoryError> {
    let (start, size) = (region.as_ptr(), region.size());
    let access = libc::PROT_READ | libc::PROT_WRITE;
    if region.prot() & access != access {
        return Err(LentMemoryError::Access { address });
    }
    let (flags, file) = (region.flags(), region.file_offset().cloned());
    let hugetlbfs = region.is_hugetlbfs().unwrap_or_default();
    let mut builder = MmapRegionBuilder::new_with_bitmap(size, WriteLog::of(region))
        .with_mmap_prot(access)
        .with_mmap_flags(flags)
        .with_hugetlbfs(hugetlbfs);
    if let Some(file) = file {
        builder = builder.with_file_offset(file);
    }
    // SAFETY: `start` and `size` are those of `region`, which is mapped for as long as it lives; the
    // bitmap that is part of the new mapping holds it. The new mapping unmaps nothing, as vm-memory does
    // that only for what it has mapped itself.
    let builder = unsafe { builder.with_raw_mmap_pointer(start) };
    let whole = |_| LentMemoryError::Region {
        address,
        size: size as u64,
    };
    builder.build().map_err(whole)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use vm_memory::bitmap::AtomicBitmap;
    use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

    use super::*;

    const MEBIBYTE: u64 = 1 << 20;

    fn ranges() -> [(GuestAddress, usize); 4] {
        [(0, 1), (1, 63), (3500, 4), (9000, 16)]
            .map(|(start, size)| (GuestAddress(start * MEBIBYTE), size << 20))
    }

    #[test]
    fn memory_of_any_layout_is_ram() {
        let mine: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&ranges()).unwrap();
        let ram = GuestRam::from_memory(&mine, [9, 3, 40, 1]).unwrap();
        let slots: Vec<u32> = ram.regions().iter().map(|region| region.slot).collect();
        assert_eq!((slots, ram.size()), (vec![9, 3, 40, 1], 84 * MEBIBYTE));
        for (start, size) in ranges() {
            let last = GuestAddress(start.0 + size as u64 - 8);
            for address in [start, last] {
                mine.write_obj(address.0 | 1, address).unwrap();
                assert_eq!(ram.read::<u64>(address).unwrap(), address.0 | 1);
                ram.write(address, 5_u64).unwrap();
                assert_eq!(mine.read_obj::<u64>(address).unwrap(), 5);
            }
            assert!(ram.read::<u64>(GuestAddress(last.0 + 1)).is_err());
            assert!(ram.contains(start, size as u64));
            assert!(ram.window(last, 8).is_ok());
        }
        for hole in [64, 3499, 3504, 4096, 8999, 9016].map(|it| GuestAddress(it * MEBIBYTE)) {
            assert!(ram.read::<u8>(hole).is_err(), "{hole:?}");
            assert!(!ram.contains(hole, 1));
        }
    }

    #[test]
    fn it_stays_mapped_when_the_embedder_has_let_go_of_it() {
        let mine: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&ranges()).unwrap();
        let ram = GuestRam::from_memory(&mine, 0..).unwrap();
        let kept = ram.shared_memory();
        let window = ram.window(GuestAddress(9000 * MEBIBYTE), 8).unwrap();
        drop((mine, ram));
        kept.write_obj(7_u64, GuestAddress(9000 * MEBIBYTE))
            .unwrap();
        drop(kept);
        assert_eq!(window.view().load_u64(0, Ordering::Relaxed), Some(7));
    }

    #[test]
    fn writes_are_in_the_log_of_whoever_keeps_one() {
        let mine: GuestMemoryMmap<AtomicBitmap> = GuestMemoryMmap::from_ranges(&ranges()).unwrap();
        let ram = GuestRam::from_memory(&mine, 0..).unwrap();
        ram.write(GuestAddress(2 * MEBIBYTE), 1_u8).unwrap();
        ram.fill(GuestAddress(9000 * MEBIBYTE), 1 << 20, 0).unwrap();
        let log = |address: u64| {
            let region = mine.find_region(GuestAddress(address)).unwrap();
            let offset = address - region.start_addr().0;
            region.bitmap().dirty_at(offset as usize)
        };
        assert!(log(2 * MEBIBYTE) && log(9000 * MEBIBYTE) && log(9001 * MEBIBYTE - 1));
        assert!(!log(MEBIBYTE) && !log(9001 * MEBIBYTE));
        let mut own = Vec::new();
        ram.take_dirty_pages(1, &mut own);
        assert!(own.is_empty());
    }

    #[test]
    fn only_private_pages_are_given_back() {
        let mine: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&ranges()).unwrap();
        let ram = GuestRam::from_memory(&mine, 0..).unwrap();
        let at = GuestAddress(2 * MEBIBYTE);
        ram.write(at, 1_u8).unwrap();
        assert_eq!(ram.discard(at, MEBIBYTE).unwrap(), MEBIBYTE);
        assert_eq!(ram.read::<u8>(at).unwrap(), 0);

        let file = file(MEBIBYTE);
        let offset = vm_memory::FileOffset::new(file, 0);
        let region = MmapRegion::<()>::from_file(offset, 1 << 20).unwrap();
        let region = GuestRegionMmap::new(region, GuestAddress(0)).unwrap();
        let mine = GuestMemoryMmap::from_regions(vec![region]).unwrap();
        let ram = GuestRam::from_memory(&mine, [0]).unwrap();
        ram.write(GuestAddress(0), 1_u8).unwrap();
        assert_eq!(ram.discard(GuestAddress(0), MEBIBYTE).unwrap(), 0);
        assert_eq!(ram.read::<u8>(GuestAddress(0)).unwrap(), 1);
        // Another process can map it: a back end of vhost-user.
        assert!(ram.region_file(0).is_some());
    }

    fn file(size: u64) -> std::fs::File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = std::fs::File::from(rustix::fs::memfd_create("lent", flags).unwrap());
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn what_cannot_be_ram_is_refused_with_its_address() {
        let mine: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&ranges()).unwrap();
        let refused = |slots: &[u32]| {
            let ram = GuestRam::from_memory(&mine, slots.iter().copied());
            ram.unwrap_err().to_string()
        };
        assert_eq!(refused(&[1, 2]), "the memory at 0xdac00000 has no slot");
        assert_eq!(
            refused(&[1, 2, 1, 3]),
            "the memory at 0x0 and at 0xdac00000 have both slot 1"
        );
        let none = GuestRam::from_memory(&GuestMemoryMmap::<()>::new(), [1]);
        assert!(matches!(none, Err(LentMemoryError::Empty)));
        let read_only = MmapRegionBuilder::new_with_bitmap(4096, ())
            .with_mmap_prot(libc::PROT_READ)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
            .build()
            .unwrap();
        let region = GuestRegionMmap::new(read_only, GuestAddress(0x1000)).unwrap();
        let mine = GuestMemoryMmap::from_regions(vec![region]).unwrap();
        let error = GuestRam::from_memory(&mine, [1]).unwrap_err().to_string();
        assert_eq!(error, "the memory at 0x1000 cannot be read and written");
    }
}
