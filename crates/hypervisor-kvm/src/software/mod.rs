//! The gaps of a software KVM, filled here: instructions its emulator hands back are completed,
//! and where its SYSCALL does not enter ring 0, a bridge does.
//!
//! All of it hangs on a [`Support`], which exists only where neither kvm_intel nor kvm_amd is
//! loaded and the probe has found something missing. Elsewhere there is none, and the exit path
//! is the same as if this folder did not exist.
//!
//! | an exit | on a vCPU with support |
//! | --- | --- |
//! | internal error, emulation | `complete`: the instruction is done by `vmmkit-x86-emulator`, or the exit goes up with its name |
//! | MMIO write to the trap page | `syscall`: ring 0 at the guest's LSTAR |
//! | RDMSR, WRMSR of STAR, LSTAR, FMASK | `syscall`: the guest's own values; the first LSTAR plants the bridge |
//! | any other | goes up |
//!
//! Registers travel in the run page (KVM_CAP_SYNC_REGS), so that each of these costs no ioctl but
//! the KVM_RUN that goes on.

mod bridge;
mod complete;
mod counters;
mod policy;
mod syscall;
mod vcpu;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use kvm_bindings::{
    KVM_CAP_DISABLE_QUIRKS2, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER,
    KVM_X86_QUIRK_FIX_HYPERCALL_INSN, kvm_enable_cap,
};
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_hypervisor::{Error, Result};
use vmmkit_telemetry::Occasions;

use crate::ProbeReport;

pub(crate) use bridge::Bridge;
pub(crate) use counters::Counters;
pub use counters::SoftwareCounters;
pub(crate) use policy::cmdline;
pub(crate) use vcpu::VcpuSupport;

/// Each reset of a guest makes a VM.
static PATCHED: Occasions = Occasions::new();

/// The support that a software KVM needs, as the probe found it. One for each `Kvm`, shared by its VMs.
#[derive(Debug)]
pub(crate) struct Support {
    // Fixed at creation
    report: ProbeReport,
    /// The memory slot that no RAM of a guest uses.
    slot: u32,
    // What was done so far
    pub(crate) counters: Counters,
}

impl Support {
    /// The support that `report` asks for; `slots` is the number of memory slots of a VM.
    pub(crate) fn new(report: ProbeReport, slots: u32) -> Option<Arc<Self>> {
        let needed = report.missing().any(|finding| finding.remedy.is_some());
        needed.then(|| {
            Arc::new(Self {
                report,
                slot: slots.saturating_sub(1),
                counters: Counters::new(),
            })
        })
    }

    /// The probe's report.
    pub(crate) fn report(&self) -> &ProbeReport {
        &self.report
    }

    /// Whether SYSCALL needs the bridge.
    pub(crate) fn needs_bridge(&self) -> bool {
        self.report.lacks("SYSCALL")
    }

    /// Makes VMCALL and VMMCALL invalid opcodes in ring 0, as on a CPU without VT-x and AMD-V. KVM's emulator
    /// patches them into the host's own instruction otherwise and begins again, here without end.
    pub(crate) fn leave_hypercalls_alone(&self, vm: &VmFd) {
        let mut quirks = kvm_enable_cap {
            cap: KVM_CAP_DISABLE_QUIRKS2,
            ..Default::default()
        };
        if let Some(disabled) = quirks.args.first_mut() {
            *disabled = KVM_X86_QUIRK_FIX_HYPERCALL_INSN.into();
        }
        // A KVM before Linux 5.19 does not know it, and a guest without hypercalls does not need it.
        if let Err(error) = vm.enable_cap(&quirks)
            && let Some(count) = PATCHED.next()
        {
            tracing::debug!(%error, count, "hypercalls are patched");
        }
    }

    /// Maps the bridge's pages, and sends SYSCALL's MSRs here; nothing where SYSCALL works.
    pub(crate) fn build_bridge(&self, vm: &VmFd) -> Result<Option<Bridge>> {
        if !self.needs_bridge() {
            return Ok(None);
        }
        let bridge = Bridge::new();
        bridge
            .map(vm, self.slot)
            .map_err(|error| Error::host("KVM_SET_USER_MEMORY_REGION", error))?;
        let mut exits = kvm_enable_cap {
            cap: KVM_CAP_X86_USER_SPACE_MSR,
            ..Default::default()
        };
        if let Some(reasons) = exits.args.first_mut() {
            *reasons = KVM_MSR_EXIT_REASON_FILTER.into();
        }
        vm.enable_cap(&exits)
            .map_err(|error| Error::host("KVM_ENABLE_CAP (KVM_CAP_X86_USER_SPACE_MSR)", error))?;
        let range = MsrFilterRange {
            flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
            base: syscall::STAR,
            msr_count: syscall::FILTERED,
            // A bit that is not set denies, which is what makes it an exit.
            bitmap: &[0],
        };
        vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &[range])
            .map_err(|error| Error::host("KVM_X86_SET_MSR_FILTER", error))?;
        Ok(Some(bridge))
    }

    /// Takes out of `leaves` what a guest had better not use here.
    pub(crate) fn mask(&self, leaves: &mut [CpuidEntry]) {
        policy::mask(&self.report, leaves);
    }
}
