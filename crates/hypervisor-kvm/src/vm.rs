//! A VM: its memory slots and its vCPUs.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{
    KVM_CAP_X2APIC_API, KVM_MEM_LOG_DIRTY_PAGES, KVM_PIT_SPEAKER_DUMMY,
    KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap,
    kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::VmFd;
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamRegion};
use vmmkit_hypervisor::{Error, Irqchip, Result, VcpuId, Vm, VmSettings};

use crate::interrupts::Lines;
use crate::msi::Routes;
use crate::software::{Bridge, Support};
use crate::{KvmVcpu, ioctls};

/// Three pages that Intel's virtualization needs below 4 GiB (KVM API, KVM_SET_TSS_ADDR); in the
/// MMIO hole, above the local APICs and IOAPICs.
const TSS_ADDRESS: usize = 0xfffb_d000;
/// One page likewise (KVM API, KVM_SET_IDENTITY_MAP_ADDR), below the three.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// The first APIC ID that only an x2APIC can have: 255 means all of them in 8 bits (Intel SDM vol. 3A,
/// 11.12.7).
const FIRST_X2APIC: u32 = 255;

/// A VM on KVM. Clones of its parts keep it open: vCPUs, and interrupt lines handed out.
pub struct KvmVm {
    pub(crate) inner: Arc<Inner>,
}

/// What the VM, its vCPUs and its lines share.
pub(crate) struct Inner {
    // The order matters: the descriptor closes before the memory behind its slots goes.
    pub(crate) vm: VmFd,
    pub(crate) slots: Mutex<Slots>,
    pub(crate) lines: Lines,
    pub(crate) routes: Routes,
    pub(crate) has_irqchip: bool,
    /// What a software KVM needs; nothing elsewhere.
    pub(crate) support: Option<Arc<Support>>,
    pub(crate) bridge: Option<Bridge>,
}

/// The guest's memory, kept for as long as the guest can reach it.
#[derive(Default)]
pub(crate) struct Slots {
    rams: Vec<GuestRam>,
    log_dirty_pages: bool,
}

impl KvmVm {
    /// Gives `vm` what `settings` ask for, and what `support` says.
    pub(crate) fn new(
        vm: VmFd,
        settings: &VmSettings,
        support: Option<Arc<Support>>,
    ) -> Result<Self> {
        // Both must come before the first vCPU.
        vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            .map_err(|error| Error::host("KVM_SET_IDENTITY_MAP_ADDR", error))?;
        vm.set_tss_address(TSS_ADDRESS)
            .map_err(|error| Error::host("KVM_SET_TSS_ADDR", error))?;
        if let Irqchip::InKernel { pit } = settings.irqchip {
            // KVM_CREATE_IRQCHIP fails with EINVAL once a vCPU exists.
            vm.create_irq_chip()
                .map_err(|error| Error::host("KVM_CREATE_IRQCHIP", error))?;
            if pit {
                // The speaker's port is KVM's too: guests time with the PIT's channel 2.
                let config = kvm_pit_config {
                    flags: KVM_PIT_SPEAKER_DUMMY,
                    ..Default::default()
                };
                vm.create_pit2(config)
                    .map_err(|error| Error::host("KVM_CREATE_PIT2", error))?;
            }
        }
        let bridge = match &support {
            Some(support) => support.build_bridge(&vm)?,
            None => None,
        };
        let inner = Inner {
            vm,
            support,
            bridge,
            slots: Mutex::default(),
            lines: Lines::default(),
            routes: Routes::default(),
            has_irqchip: settings.irqchip != Irqchip::None,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The VM's descriptor, for what this crate does not wrap.
    pub fn fd(&self) -> &VmFd {
        &self.inner.vm
    }
}

impl Vm for KvmVm {
    type Vcpu = KvmVcpu;

    fn map_ram(&self, ram: &GuestRam) -> Result<()> {
        let mut slots = self.inner.slots();
        let on = slots.log_dirty_pages;
        // Kept before the first slot is set: one that fails later leaves earlier ones in place.
        slots.rams.push(ram.clone());
        ram.regions()
            .iter()
            .try_for_each(|region| self.inner.set_slot(&slots, region, on))
    }

    fn create_vcpu(&self, id: VcpuId) -> Result<KvmVcpu> {
        if id.0 >= FIRST_X2APIC && self.inner.has_irqchip {
            self.inner.widen_apic_ids()?;
        }
        let fd = self
            .inner
            .vm
            .create_vcpu(u64::from(id.0))
            .map_err(|error| Error::host("KVM_CREATE_VCPU", error))?;
        KvmVcpu::new(id, fd, Arc::clone(&self.inner))
    }
}

impl Inner {
    /// APIC IDs have 32 bits from here on, and 255 is one of them.
    fn widen_apic_ids(&self) -> Result<()> {
        let flags = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
        let request = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            args: [flags.into(), 0, 0, 0],
            ..Default::default()
        };
        self.vm
            .enable_cap(&request)
            .map_err(|error| Error::host("KVM_ENABLE_CAP (KVM_CAP_X2APIC_API)", error))
    }

    /// Locks the slots. No lock is taken while it is held.
    pub(crate) fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `bytes` from guest memory; false where it is not RAM.
    pub(crate) fn read_ram(&self, address: GuestAddress, bytes: &mut [u8]) -> bool {
        self.with_ram(|ram| ram.read_bytes(address, bytes).ok())
            .is_some()
    }

    /// Writes `bytes` to guest memory; false where it is not RAM.
    pub(crate) fn write_ram(&self, address: GuestAddress, bytes: &[u8]) -> bool {
        self.with_ram(|ram| ram.write_bytes(address, bytes).ok())
            .is_some()
    }

    /// The first answer of `f` for a RAM of the guest.
    pub(crate) fn with_ram<T>(&self, f: impl FnMut(&GuestRam) -> Option<T>) -> Option<T> {
        self.slots().rams.iter().find_map(f)
    }

    fn set_slot(&self, slots: &Slots, region: &RamRegion, log: bool) -> Result<()> {
        let known = slots.rams.iter().any(|ram| ram.regions().contains(region));
        if !known {
            return Err(Error::host(
                "KVM_SET_USER_MEMORY_REGION",
                io::ErrorKind::NotFound,
            ));
        }
        let slot = kvm_userspace_memory_region {
            slot: region.slot,
            flags: if log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
            guest_phys_addr: region.guest_address.0,
            memory_size: region.size,
            userspace_addr: region.host_address,
        };
        // SAFETY: `region` is one of a `GuestRam` in `slots` (checked above), which maps it until
        // its last clone drops; `slots` only grows, and drops after the VM's descriptor; every
        // vCPU holds `self`.
        unsafe { ioctls::set_memory_region(&self.vm, &slot) }
            .map_err(|error| Error::host("KVM_SET_USER_MEMORY_REGION", error))
    }

    /// Sets every slot again with or without the log.
    pub(crate) fn set_dirty_log(&self, on: bool) -> Result<()> {
        let mut slots = self.slots();
        slots.log_dirty_pages = on;
        let regions = slots.rams.iter().flat_map(|ram| ram.regions());
        regions
            .into_iter()
            .try_for_each(|region| self.set_slot(&slots, region, on))
    }

    /// The size of `slot` in bytes.
    pub(crate) fn slot_size(&self, slot: u32) -> Option<u64> {
        let slots = self.slots();
        let mut regions = slots.rams.iter().flat_map(|ram| ram.regions());
        regions
            .find(|region| region.slot == slot)
            .map(|region| region.size)
    }
}

impl fmt::Debug for KvmVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmVm").finish_non_exhaustive()
    }
}
