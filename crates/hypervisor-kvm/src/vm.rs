//! A VM: its memory slots and its vCPUs.

use std::fmt;
use std::sync::Arc;

use kvm_ioctls::{Cap, VmFd};
use vmmkit_guest_memory::{GuestRam, Rom};
use vmmkit_hypervisor::{Error, GuestClock, Result, VcpuId, Vm};

use crate::KvmVcpu;
use crate::clock::KvmClock;
use crate::inner::Inner;

/// The first APIC ID that only an x2APIC can have: 255 means all of them in 8 bits (Intel SDM vol. 3A,
/// 11.12.7).
const FIRST_X2APIC: u32 = 255;

/// A VM on KVM. Clones of its parts keep it open: vCPUs, and interrupt lines handed out.
pub struct KvmVm {
    pub(crate) inner: Arc<Inner>,
}

impl KvmVm {
    /// Calls `f` with the VM's descriptor, for what this crate does not wrap. A [renewal](Vm::renew) makes another
    /// VM, without what was set up so; memory goes through [`map_ram`](Vm::map_ram), which survives it.
    pub fn with_fd<T>(&self, f: impl FnOnce(&VmFd) -> T) -> T {
        f(&self.inner.current().vm)
    }
}

impl Vm for KvmVm {
    type Vcpu = KvmVcpu;

    fn map_ram(&self, ram: &GuestRam) -> Result<()> {
        let vm = &self.inner.current().vm;
        self.inner.slots().map_ram(vm, ram)
    }

    fn unmap_ram(&self, ram: &GuestRam) -> Result<()> {
        let vm = &self.inner.current().vm;
        self.inner.slots().unmap_ram(vm, ram)
    }

    fn map_rom(&self, rom: &Rom) -> Result<()> {
        let vm = &self.inner.current().vm;
        if !vm.check_extension(Cap::ReadonlyMem) {
            return Err(Error::Unsupported("read-only memory"));
        }
        self.inner.slots().map_rom(vm, rom)
    }

    fn create_vcpu(&self, id: VcpuId) -> Result<KvmVcpu> {
        if id.0 >= FIRST_X2APIC && self.inner.has_irqchip() {
            self.inner.widen_apic_ids()?;
        }
        let descriptor = self.inner.current();
        let fd = descriptor
            .vm
            .create_vcpu(u64::from(id.0))
            .map_err(|error| Error::host("KVM_CREATE_VCPU", error))?;
        descriptor.keep(&fd)?;
        KvmVcpu::new(id, fd, descriptor, Arc::clone(&self.inner))
    }

    fn renew(&self) -> Result<()> {
        self.inner.renew()
    }

    fn clock(&self) -> Arc<dyn GuestClock> {
        Arc::new(KvmClock::new(Arc::clone(&self.inner)))
    }
}

impl fmt::Debug for KvmVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmVm").finish_non_exhaustive()
    }
}
