//! A VM of the host's: its descriptor, which a renewal replaces, and what outlives that.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_PIT_SPEAKER_DUMMY,
    KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap,
    kvm_pit_config,
};
use kvm_ioctls::{VcpuFd, VmFd};
use parking_lot::{Mutex, MutexGuard, RwLock};
use vmmkit_guest_memory::{GuestAddress, GuestRam};
use vmmkit_hypervisor::{Error, Irqchip, Result, VmSettings};

use crate::lines::Lines;
use crate::routes::{PINS, Routes};
use crate::slots::Slots;
use crate::software::{Bridge, Support};
use crate::{KickSignal, ioctls};

/// Three pages that Intel's virtualization needs below 4 GiB (KVM API, KVM_SET_TSS_ADDR); in the
/// MMIO hole, between the local APICs and the largest ROM.
const TSS_ADDRESS: usize = 0xfeff_d000;
/// One page likewise (KVM API, KVM_SET_IDENTITY_MAP_ADDR), below the three.
const IDENTITY_MAP_ADDRESS: u64 = 0xfeff_c000;

/// How often signals may interrupt the making of a VM: a profiler sends a hundred a second or more.
const MAX_INTERRUPTED: u32 = 1000;

/// State shared by the VM, its vCPUs and its lines.
pub(crate) struct Inner {
    // Fixed at creation
    kvm: Arc<kvm_ioctls::Kvm>,
    settings: VmSettings,
    pub(crate) kick_signal: KickSignal,
    /// The support for a software KVM; nothing elsewhere.
    pub(crate) support: Option<Arc<Support>>,
    // The order matters: the descriptor closes before the memory behind its slots goes.
    current: RwLock<Arc<Descriptor>>,
    pub(crate) slots: Mutex<Slots>,
    pub(crate) lines: Lines,
    pub(crate) routes: Routes,
    /// Added to saved offsets of time-stamp counters.
    tsc_shift: AtomicU64,
}

/// One VM of the host's; another after a renewal. Its vCPUs hold it.
pub(crate) struct Descriptor {
    // The order matters here too.
    pub(crate) vm: VmFd,
    /// Each vCPU once more, for what is not done on its thread.
    vcpus: Mutex<Vec<OwnedFd>>,
    pub(crate) bridge: Option<Bridge>,
}

impl Inner {
    /// A VM of `kvm` with what `settings` ask for, and what `support` says.
    pub(crate) fn new(
        kvm: Arc<kvm_ioctls::Kvm>,
        settings: &VmSettings,
        kick_signal: KickSignal,
        support: Option<Arc<Support>>,
    ) -> Result<Self> {
        let descriptor = Descriptor::new(&kvm, settings, support.as_deref())?;
        Ok(Self {
            kvm,
            settings: *settings,
            kick_signal,
            support,
            current: RwLock::new(Arc::new(descriptor)),
            slots: Mutex::default(),
            lines: Lines::default(),
            routes: Routes::default(),
            tsc_shift: AtomicU64::new(0),
        })
    }

    /// Puts another VM of the host's, without vCPUs, in the place of this one.
    pub(crate) fn renew(&self) -> Result<()> {
        let descriptor = Descriptor::new(&self.kvm, &self.settings, self.support.as_deref())?;
        self.slots().map_all(&descriptor.vm)?;
        self.lines.renew(|| self.replace(descriptor));
        Ok(())
    }

    /// APIC IDs have 32 bits from here on, and 255 is one of them.
    pub(crate) fn widen_apic_ids(&self) -> Result<()> {
        let flags = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
        let request = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            args: [flags.into(), 0, 0, 0],
            ..Default::default()
        };
        self.current()
            .vm
            .enable_cap(&request)
            .map_err(|error| Error::host("KVM_ENABLE_CAP (KVM_CAP_X2APIC_API)", error))
    }

    /// Locks the slots. No lock is taken while it is held.
    pub(crate) fn slots(&self) -> parking_lot::MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// Fills `bytes` from guest memory; false where there is none.
    pub(crate) fn read_ram(&self, address: GuestAddress, bytes: &mut [u8]) -> bool {
        let slots = self.slots();
        let mut rams = slots.rams.iter();
        rams.any(|ram| ram.read_bytes(address, bytes).is_ok())
            || slots.roms.iter().any(|rom| rom.read_bytes(address, bytes))
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

    /// The host's VM of now.
    pub(crate) fn current(&self) -> Arc<Descriptor> {
        Arc::clone(&self.current.read())
    }

    /// Puts another in its place, and closes the old one with its last vCPU.
    fn replace(&self, descriptor: Descriptor) {
        let descriptor = Arc::new(descriptor);
        let old = std::mem::replace(&mut *self.current.write(), descriptor);
        drop(old);
    }

    pub(crate) fn is_split(&self) -> bool {
        self.settings.irqchip == Irqchip::Split
    }

    pub(crate) fn settings(&self) -> &VmSettings {
        &self.settings
    }

    pub(crate) fn irqchip(&self) -> Irqchip {
        self.settings.irqchip
    }

    /// The MSRs that the host saves (KVM API, KVM_GET_MSR_INDEX_LIST).
    pub(crate) fn msr_indices(&self) -> Result<Vec<u32>> {
        let list = self.kvm.get_msr_index_list();
        let list = list.map_err(|error| Error::host("KVM_GET_MSR_INDEX_LIST", error))?;
        Ok(list.as_slice().to_vec())
    }

    /// The host's time-stamp counter of a saved state is ahead of this host's by `ticks`, modulo 2^64.
    pub(crate) fn shift_tsc(&self, ticks: u64) {
        // Ordering: the restorer makes vCPUs' threads after it, or is one of them.
        self.tsc_shift.store(ticks, Ordering::Relaxed);
    }

    /// The offset here of a time-stamp counter that was saved with `offset`.
    pub(crate) fn restored_tsc_offset(&self, offset: u64) -> u64 {
        offset.wrapping_add(self.tsc_shift.load(Ordering::Relaxed))
    }

    pub(crate) fn has_irqchip(&self) -> bool {
        self.settings.irqchip != Irqchip::None
    }

    /// Sets every slot again with or without the log.
    pub(crate) fn set_dirty_log(&self, on: bool) -> Result<()> {
        let mut slots = self.slots();
        slots.log_dirty_pages = on;
        slots.map_all(&self.current().vm)
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

impl Descriptor {
    fn new(
        kvm: &kvm_ioctls::Kvm,
        settings: &VmSettings,
        support: Option<&Support>,
    ) -> Result<Self> {
        // A signal that comes while KVM makes the VM's page tables ends the call; it succeeds
        // when asked again.
        let mut interrupted = 0;
        let vm = loop {
            match kvm.create_vm() {
                Err(error) if error.errno() == libc::EINTR && interrupted < MAX_INTERRUPTED => {
                    interrupted += 1;
                }
                answer => break answer.map_err(|error| Error::host("KVM_CREATE_VM", error))?,
            }
        };
        // Both must come before the first vCPU.
        vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            .map_err(|error| Error::host("KVM_SET_IDENTITY_MAP_ADDR", error))?;
        vm.set_tss_address(TSS_ADDRESS)
            .map_err(|error| Error::host("KVM_SET_TSS_ADDR", error))?;
        create_irqchip(&vm, settings)?;
        let bridge = match support {
            Some(support) => {
                support.leave_hypercalls_alone(&vm);
                support.build_bridge(&vm)?
            }
            None => None,
        };
        let vcpus = Mutex::default();
        Ok(Self { vm, vcpus, bridge })
    }

    /// Locks the list of vCPUs. No lock is taken while it is held.
    pub(crate) fn vcpus(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.vcpus.lock()
    }

    pub(crate) fn keep(&self, vcpu: &VcpuFd) -> Result<()> {
        // SAFETY: the descriptor belongs to `vcpu`, which is open for as long as it is borrowed.
        let fd = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        let again = fd.try_clone_to_owned();
        let again = again.map_err(|error| Error::host("fcntl(F_DUPFD) of a vCPU", error))?;
        self.vcpus().push(again);
        Ok(())
    }
}

/// Makes interrupt controllers; that fails with EINVAL once a vCPU exists.
fn create_irqchip(vm: &VmFd, settings: &VmSettings) -> Result<()> {
    match settings.irqchip {
        Irqchip::None => {}
        Irqchip::InKernel { pit } => {
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
                if settings.drop_late_ticks {
                    // A KVM that refuses makes up for them, which is slower and no worse.
                    let _ = ioctls::drop_late_ticks(vm);
                }
            }
        }
        Irqchip::Split => {
            let mut split = kvm_enable_cap {
                cap: KVM_CAP_SPLIT_IRQCHIP,
                ..Default::default()
            };
            if let Some(pins) = split.args.first_mut() {
                *pins = PINS.into();
            }
            vm.enable_cap(&split)
                .map_err(|error| Error::host("KVM_ENABLE_CAP (KVM_CAP_SPLIT_IRQCHIP)", error))?;
        }
        _ => return Err(Error::Unsupported("such interrupt controllers")),
    }
    Ok(())
}
