//! Memory beside RAM in the guest's address space: files, and what may be plugged.

use std::fmt;
use std::sync::Arc;

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::backing::Pages;
use crate::guard::Guards;
use crate::mapping::Mapping;
use crate::{GuestRam, MapFileError, RamRegion};

/// One mapping that is not RAM from the start.
#[derive(Clone)]
pub(crate) struct Beside {
    region: RamRegion,
    mapping: Arc<Mapping>,
    /// The same, as vm-memory has it.
    mapped: Arc<GuestRegionMmap<Option<AtomicBitmap>>>,
    pages: Pages,
    _guards: Arc<Guards>,
}

impl Beside {
    pub(crate) fn contains(&self, address: GuestAddress) -> bool {
        address
            .0
            .checked_sub(self.region.guest_address.0)
            .is_some_and(|offset| offset < self.region.size)
    }

    /// How its pages become zero.
    pub(crate) fn pages(&self) -> Pages {
        self.pages
    }
}

impl GuestRam {
    /// Memory of nothing but `mapping`, at a slot and an address.
    pub(crate) fn beside(
        (slot, address): (u32, GuestAddress),
        mapping: Mapping,
        guards: Guards,
        pages: Pages,
    ) -> Result<Self, MapFileError> {
        let size = mapping.size() as u64;
        let beyond = || MapFileError::Address { address: address.0 };
        let region = RamRegion {
            slot,
            guest_address: address,
            size,
            host_address: mapping.as_ptr() as u64,
        };
        let mapped = Arc::new(GuestRegionMmap::new(mapping, address).ok_or_else(beyond)?);
        let memory = GuestMemoryMmap::from_arc_regions(vec![mapped.clone()]);
        let memory = memory.map_err(|_| beyond())?;
        Ok(Self {
            memory: Arc::new(memory),
            regions: [region].into(),
            low: None,
            high: None,
            beside: [Beside {
                region,
                mapping: mapped.get_mmap(),
                mapped,
                pages,
                _guards: guards.into(),
            }]
            .into(),
            guards: Arc::default(),
            pages,
        })
    }

    /// This RAM and the memory beside it of `other` as one: what a device reaches, since a guest may
    /// have it read and write what lies there. Its regions are those of both, so that it is not what a
    /// guest is told its RAM is.
    ///
    /// # Errors
    /// [`MapFileError::Overlap`] where the two share an address or a slot, or `other` has RAM.
    pub fn joined(&self, other: &Self) -> Result<Self, MapFileError> {
        let overlap = |region: &RamRegion| MapFileError::Overlap {
            address: region.guest_address.0,
            size: region.size,
            slot: region.slot,
        };
        let is_refused = |region: &&RamRegion| {
            let is_beside = other.beside.iter().any(|one| one.region == **region);
            !is_beside || self.regions.iter().any(|own| own.slot == region.slot)
        };
        if let Some(refused) = other.regions.iter().find(is_refused) {
            return Err(overlap(refused));
        }
        let mut memory = GuestMemoryMmap::clone(&self.memory);
        for one in other.beside.iter() {
            let added = memory.insert_region(one.mapped.clone());
            memory = added.map_err(|_| overlap(&one.region))?;
        }
        let both = self.regions.iter().chain(other.regions.iter());
        let beside = self.beside.iter().chain(other.beside.iter());
        Ok(Self {
            memory: Arc::new(memory),
            regions: both.copied().collect(),
            low: self.low.clone(),
            high: self.high.clone(),
            beside: beside.cloned().collect(),
            guards: self.guards.clone(),
            pages: self.pages,
        })
    }

    /// The mapping beside RAM that `address` lies in, and the offset there.
    pub(crate) fn locate_beside(&self, address: GuestAddress) -> Option<(&Arc<Mapping>, usize)> {
        let one = self.beside.iter().find(|one| one.contains(address))?;
        let offset = address.0 - one.region.guest_address.0;
        Some((&one.mapping, usize::try_from(offset).ok()?))
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Beside").field(&self.region).finish()
    }
}
