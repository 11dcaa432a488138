//! The RAM of one guest.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::backing::{Pages, Source};
use crate::beside::Beside;
use crate::guard::Guards;
use crate::mapping::Mapping;
use crate::origin::Origin;
use crate::write_log::WriteLog;
use crate::{Backing, MMIO_HOLE_END, MMIO_HOLE_START, RamConfig, RamError, host, prefault};

/// One contiguous range of RAM: a memory slot of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RamRegion {
    /// The slot's number: the index of the region; of a file, the number that it was given.
    pub slot: u32,
    /// The guest-physical address of its first byte.
    pub guest_address: GuestAddress,
    /// Its size in bytes.
    pub size: u64,
    /// The address of its first byte in this process. What is written through it is not in the
    /// dirty log.
    pub host_address: u64,
}

/// The RAM of one guest. Clones share it; it is unmapped when the last one drops.
///
/// Any thread may read and write it at any time, as the guest may: accesses of 1, 2, 4 or 8
/// aligned bytes are not torn, others may be. Nothing orders accesses to different addresses but
/// [`compare_exchange_u64`](Self::compare_exchange_u64) and the fences of the caller.
#[derive(Clone)]
pub struct GuestRam {
    pub(crate) memory: Arc<GuestMemoryMmap<WriteLog>>,
    pub(crate) regions: Arc<[RamRegion]>,
    /// Below the MMIO hole; the second one above it. Held apart from `memory`, so that an access
    /// finds its mapping with one comparison.
    pub(crate) low: Option<Arc<Mapping>>,
    pub(crate) high: Option<Arc<Mapping>>,
    /// Mapped files and what may be plugged, above both; few if any.
    pub(crate) beside: Arc<[Beside]>,
    /// Beside each region.
    pub(crate) guards: Arc<[Guards]>,
    pub(crate) pages: Pages,
    /// Of RAM that is mapped from images.
    pub(crate) origin: Option<Arc<Origin>>,
    /// Of RAM whose pages are provided as they are touched.
    pub(crate) faults: Option<Arc<OwnedFd>>,
}

impl GuestRam {
    /// Maps RAM as `config` says, after checking that the host can have so much: an anonymous or
    /// memfd guest larger than memory and swap together is refused, and so is one with prefault
    /// that is larger than what is available now. A guest larger than what is available, without
    /// prefault, is allowed: few guests touch all of their RAM.
    ///
    /// Core dumps of this process leave guest RAM out, unless [`dump`](RamConfig::dump) is set. On
    /// both sides of each region lie pages without access.
    ///
    /// # Errors
    /// [`RamError`] names the size and the host's reason.
    pub fn new(config: &RamConfig) -> Result<Self, RamError> {
        if config.merge && config.backing != Backing::Anonymous {
            return Err(RamError::MergeShared);
        }
        host::check_capacity(config)?;
        Self::of(config, crate::backing::open(config)?)
    }

    /// Maps `source` as `config` says.
    pub(crate) fn of(config: &RamConfig, source: Source) -> Result<Self, RamError> {
        let unmappable = || RamError::AddressSpace {
            size: config.size.bytes(),
        };
        let mut mappings = Vec::with_capacity(2);
        let mut regions = Vec::with_capacity(2);
        let mut guards = Vec::with_capacity(2);
        let mut offset = 0;
        for (slot, &(start, size)) in (0..).zip(config.layout().ranges()) {
            let (mapping, beside) = crate::mapping::map(config, &source, offset, size)?;
            if offset == 0 {
                crate::mapping::spare_low_memory(&mapping, config);
            }
            guards.push(beside);
            let host_address = mapping.as_ptr() as u64;
            regions.push(RamRegion {
                slot,
                guest_address: start,
                size,
                host_address,
            });
            let region = GuestRegionMmap::new(mapping, start).ok_or_else(unmappable)?;
            mappings.push(region);
            offset += size;
        }
        let mut maps = mappings.iter().map(GuestRegionMmap::get_mmap);
        let low = maps.next();
        let high = maps.next();
        drop(maps);
        if config.prefault {
            prefault::touch_all(&regions, config.size.bytes())?;
        }
        let memory = GuestMemoryMmap::from_regions(mappings).map_err(|_| unmappable())?;
        Ok(Self {
            memory: Arc::new(memory),
            regions: regions.into(),
            low,
            high,
            beside: Arc::default(),
            guards: guards.into(),
            pages: source.pages,
            origin: None,
            faults: None,
        })
    }

    /// The memory as vm-memory's type, for rust-vmm crates (linux-loader, virtio-queue).
    pub fn memory(&self) -> &GuestMemoryMmap<WriteLog> {
        &self.memory
    }

    /// As [`memory`](Self::memory), to keep: for what the host works on while this is dropped.
    pub fn shared_memory(&self) -> Arc<GuestMemoryMmap<WriteLog>> {
        self.memory.clone()
    }

    /// The regions, lowest first: one, or two around the MMIO hole.
    pub fn regions(&self) -> &[RamRegion] {
        &self.regions
    }

    /// Bytes of RAM in all.
    pub fn size(&self) -> u64 {
        self.regions.iter().map(|region| region.size).sum()
    }

    /// Whether the `length` bytes at `address` are all RAM. An empty range is, where a byte more
    /// would be or at the end of a region.
    pub fn contains(&self, address: GuestAddress, length: u64) -> bool {
        self.regions.iter().any(|region| {
            let end = address.0.checked_add(length);
            address.0 >= region.guest_address.0
                && end.is_some_and(|end| end <= region.guest_address.0 + region.size)
        })
    }

    /// The file behind the region `slot`, and the offset there of its first byte, for another process
    /// to map the same pages (vhost-user). `None` where there is no such region, and for RAM that
    /// this process has for itself: [`Backing::Anonymous`](crate::Backing::Anonymous), and a [mapped
    /// file](crate::FileRegion) that is not shared.
    pub fn region_file(&self, slot: u32) -> Option<(BorrowedFd<'_>, u64)> {
        let mapping = self.mapping(slot)?;
        let file = mapping.file_offset()?;
        let is_shared = mapping.flags() & libc::MAP_SHARED != 0;
        is_shared.then(|| (file.file().as_fd(), file.start()))
    }

    /// How pages at `address` may become zero without being touched.
    pub(crate) fn pages(&self, address: GuestAddress) -> Pages {
        let beside = self.beside.iter().find(|one| one.contains(address));
        beside.map_or(self.pages, Beside::pages)
    }

    /// The mapping that `address` would be in, and the offset there, which may be past its end. An
    /// access never spans two.
    #[inline]
    pub(crate) fn locate(&self, address: GuestAddress) -> Option<(&Arc<Mapping>, usize)> {
        if address < MMIO_HOLE_START {
            let Some(low) = &self.low else {
                return self.locate_beside(address);
            };
            return Some((low, usize::try_from(address.0).ok()?));
        }
        let above = address.0.checked_sub(MMIO_HOLE_END.0);
        if let (Some(high), Some(offset)) = (&self.high, above) {
            let offset = usize::try_from(offset).ok()?;
            if offset < high.size() || self.beside.is_empty() {
                return Some((high, offset));
            }
        }
        self.locate_beside(address)
    }

    /// The mapping of the region `slot`.
    pub(crate) fn mapping(&self, slot: u32) -> Option<&Mapping> {
        let region = self.regions.iter().find(|region| region.slot == slot)?;
        let (mapping, _) = self.locate(region.guest_address)?;
        Some(mapping)
    }
}

impl fmt::Debug for GuestRam {
    /// The regions; not the bits of the dirty log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestRam")
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
