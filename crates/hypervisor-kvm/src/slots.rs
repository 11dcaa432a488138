//! The memory slots of a VM.

use std::io;

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vmmkit_guest_memory::{GuestRam, RamRegion, Rom};
use vmmkit_hypervisor::{Error, Result};

use crate::ioctls;

/// The guest's memory, kept for as long as the guest can reach it.
#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) rams: Vec<GuestRam>,
    pub(crate) roms: Vec<Rom>,
    pub(crate) log_dirty_pages: bool,
}

impl Slots {
    /// Gives `vm` every slot.
    pub(crate) fn map_all(&self, vm: &VmFd) -> Result<()> {
        let regions = self.rams.iter().flat_map(|ram| ram.regions());
        regions
            .into_iter()
            .try_for_each(|region| self.set(vm, region, self.ram_flags()))?;
        let mut roms = self.roms.iter();
        roms.try_for_each(|rom| self.set(vm, rom.region(), KVM_MEM_READONLY))
    }

    /// The flags of RAM's slots.
    fn ram_flags(&self) -> u32 {
        if self.log_dirty_pages {
            KVM_MEM_LOG_DIRTY_PAGES
        } else {
            0
        }
    }

    /// Gives `vm` the slots of `ram`.
    pub(crate) fn map_ram(&mut self, vm: &VmFd, ram: &GuestRam) -> Result<()> {
        // Kept before the first slot is set: one that fails later leaves earlier ones in place.
        self.rams.push(ram.clone());
        let mut regions = ram.regions().iter();
        regions.try_for_each(|region| self.set(vm, region, self.ram_flags()))
    }

    /// Gives `vm` the slot of `rom`.
    pub(crate) fn map_rom(&mut self, vm: &VmFd, rom: &Rom) -> Result<()> {
        self.roms.push(rom.clone());
        self.set(vm, rom.region(), KVM_MEM_READONLY)
    }

    /// Takes the slots of `ram` away from `vm`, then lets go of it.
    pub(crate) fn unmap_ram(&mut self, vm: &VmFd, ram: &GuestRam) -> Result<()> {
        let mut rams = self.rams.iter();
        let place = rams.position(|known| known.regions() == ram.regions());
        let place = place.ok_or_else(|| refused(io::ErrorKind::NotFound))?;
        for region in ram.regions() {
            // Without bytes, a slot is gone (KVM API, 4.35).
            let mut gone = *region;
            gone.size = 0;
            self.set_slot(vm, &gone, 0)?;
        }
        self.rams.remove(place);
        Ok(())
    }

    /// Gives `vm`, which is of the `Inner` that has these slots, the slot of `region`.
    fn set(&self, vm: &VmFd, region: &RamRegion, flags: u32) -> Result<()> {
        let known = self.rams.iter().any(|ram| ram.regions().contains(region))
            || self.roms.iter().any(|rom| rom.region() == region);
        if !known {
            return Err(refused(io::ErrorKind::NotFound));
        }
        self.set_slot(vm, region, flags)
    }

    /// Sets the slot of `region`, one of `self` or without bytes.
    fn set_slot(&self, vm: &VmFd, region: &RamRegion, flags: u32) -> Result<()> {
        let slot = kvm_userspace_memory_region {
            slot: region.slot,
            flags,
            guest_phys_addr: region.guest_address.0,
            memory_size: region.size,
            userspace_addr: region.host_address,
        };
        // SAFETY: `region` has no bytes, or is one of a `GuestRam` or `Rom` in `self` (`set` checks it), which
        // maps it until its last clone drops; `self` lets go of it only after its slots are gone (`unmap_ram`),
        // and is dropped by its `Inner` after the VM's descriptor; every vCPU holds that `Inner`.
        unsafe { ioctls::set_memory_region(vm, &slot) }.map_err(refused)
    }
}

fn refused(reason: impl Into<io::Error>) -> Error {
    Error::host("KVM_SET_USER_MEMORY_REGION", reason)
}
