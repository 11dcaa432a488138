//! A VM's clocks: kvmclock, and the time-stamp counters of its vCPUs.

use std::arch::x86_64::_rdtsc;
use std::fs;
use std::sync::{Arc, Weak};

use kvm_bindings::kvm_clock_data;
use parking_lot::{Mutex, MutexGuard};
use vmmkit_hypervisor::{Error, GuestClock, Result};

use crate::inner::{Descriptor, Inner};
use crate::ioctls;

/// The clocks of one VM.
///
/// A guest's clock shows the host's time-stamp counter with an offset, and, for kvmclock, a
/// base that the host's kernel keeps. To stop both is to note them, and later to put the base back
/// and to take the ticks of the gap off the offsets, as the kernel's description of a migration has
/// it (Documentation/virt/kvm/devices/vcpu.rst, 4.1).
pub(crate) struct KvmClock {
    vm: Arc<Inner>,
    stopped: Mutex<Option<Stopped>>,
}

/// The clocks' values when they stopped.
struct Stopped {
    /// The VM of the clocks: those of a VM that is made as new meanwhile begin anew.
    vm: Weak<Descriptor>,
    kvmclock: kvm_clock_data,
    host_tsc: u64,
}

impl KvmClock {
    pub(crate) fn new(vm: Arc<Inner>) -> Self {
        Self {
            vm,
            stopped: Mutex::default(),
        }
    }

    fn stopped(&self) -> MutexGuard<'_, Option<Stopped>> {
        self.stopped.lock()
    }

    /// Every vCPU gets the same ticks taken off, so that they stay in step.
    fn set_back(vm: &Descriptor, ticks: u64) -> Result<()> {
        let vcpus = vm.vcpus();
        vcpus.iter().try_for_each(|vcpu| {
            let offset = ioctls::tsc_offset(vcpu)
                .map_err(|error| Error::host("KVM_GET_DEVICE_ATTR", error))?;
            ioctls::set_tsc_offset(vcpu, offset.wrapping_sub(ticks))
                .map_err(|error| Error::host("KVM_SET_DEVICE_ATTR", error))
        })
    }
}

impl GuestClock for KvmClock {
    fn stop(&self) -> Result<()> {
        let vm = self.vm.current();
        let clock = vm.vm.get_clock();
        let clock = clock.map_err(|error| Error::host("KVM_GET_CLOCK", error))?;
        *self.stopped() = Some(Stopped {
            vm: Arc::downgrade(&vm),
            // The flags of KVM_SET_CLOCK have other meanings (KVM API).
            kvmclock: kvm_clock_data {
                clock: clock.clock,
                ..Default::default()
            },
            host_tsc: host_tsc(),
        });
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let Some(stopped) = self.stopped().take() else {
            return Ok(());
        };
        let vm = self.vm.current();
        if !Weak::ptr_eq(&stopped.vm, &Arc::downgrade(&vm)) {
            return Ok(());
        }
        if self.stops_tsc() {
            Self::set_back(&vm, host_tsc().wrapping_sub(stopped.host_tsc))?;
        }
        let set = vm.vm.set_clock(&stopped.kvmclock);
        set.map_err(|error| Error::host("KVM_SET_CLOCK", error))
    }

    fn skip(&self) {
        *self.stopped() = None;
    }

    /// A software KVM's guests read the processor's own counter; and where the host's processors count
    /// apart, KVM keeps the guest's counter going whatever its offset.
    fn stops_tsc(&self) -> bool {
        self.vm.support.is_none() && host_counts_by_tsc()
    }
}

/// Whether the host's kernel takes the time-stamp counter for a clock
/// (Documentation/ABI/testing/sysfs-devices-system-clocksource).
fn host_counts_by_tsc() -> bool {
    let clock =
        fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    // Without sysfs: as nearly all hosts do.
    clock.map_or(true, |name| name.trim() == "tsc")
}

/// This processor's time-stamp counter. The host's kernel uses it as a clock only where all
/// processors count alike; elsewhere KVM's guests do not either.
pub(crate) fn host_tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux lets user space execute it unless a process
    // asks otherwise for itself (PR_SET_TSC), which nothing here does.
    unsafe { _rdtsc() }
}
