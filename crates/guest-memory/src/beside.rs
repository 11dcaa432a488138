//! Memory beside RAM in the guest's address space: files, and what may be plugged.

use std::fmt;
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::backing::Pages;
use crate::guard::Guards;
use crate::mapping::Mapping;
use crate::write_log::WriteLog;
use crate::{GuestRam, MapFileError, RamRegion};

/// One mapping that is not RAM from the start, or not mapped here.
#[derive(Clone)]
pub(crate) struct Beside {
    region: RamRegion,
    mapping: Arc<Mapping>,
    /// The same, as vm-memory has it.
    mapped: Arc<GuestRegionMmap<WriteLog>>,
    pages: Pages,
    _guards: Option<Arc<Guards>>,
}

impl Beside {
    /// A region without guards.
    pub(crate) fn new(
        region: RamRegion,
        mapped: Arc<GuestRegionMmap<WriteLog>>,
        pages: Pages,
    ) -> Self {
        Self {
            region,
            mapping: mapped.get_mmap(),
            mapped,
            pages,
            _guards: None,
        }
    }

    pub(crate) fn region(&self) -> &RamRegion {
        &self.region
    }

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
        let one = Beside {
            _guards: Some(guards.into()),
            ..Beside::new(region, mapped, pages)
        };
        Self::of_beside(vec![one]).ok_or_else(beyond)
    }

    /// Memory of nothing but `all`; `None` where two share an address, or there is none.
    pub(crate) fn of_beside(all: Vec<Beside>) -> Option<Self> {
        let mapped = all.iter().map(|one| one.mapped.clone()).collect();
        let memory = GuestMemoryMmap::from_arc_regions(mapped).ok()?;
        Some(Self {
            memory: Arc::new(memory),
            regions: all.iter().map(|one| one.region).collect(),
            low: None,
            high: None,
            pages: all.first()?.pages,
            origin: None,
            faults: None,
            beside: all.into(),
            guards: Arc::default(),
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
            origin: None,
            faults: self.faults.clone(),
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
