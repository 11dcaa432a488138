//! The interface of a machine to its debugger.

use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::VcpuState;

/// Abilities of the machine's hypervisor for a debugger besides single steps. Others are refused
/// to the client, which says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// It stops at INT3. Otherwise breakpoints in memory take a debug register each.
    pub int3: bool,
    /// It stops at an instruction that a debug register watches.
    pub execute: bool,
    /// It stops at data that a debug register watches.
    pub data: bool,
}

impl Default for Supported {
    /// All of it, as hardware does.
    fn default() -> Self {
        Self {
            int3: true,
            execute: true,
            data: true,
        }
    }
}

/// A machine under a debugger. Only the server's thread calls it.
pub trait Debugged: Send + Sync + 'static {
    /// How many vCPUs there are; they are numbered from 0.
    fn vcpus(&self) -> u32;

    /// The guest's RAM.
    fn ram(&self) -> &GuestRam;

    /// Takes every vCPU out of the guest and keeps it out until [`resume`](Self::resume); returns when
    /// all are, or the run has ended.
    fn halt(&self);

    /// Lets the vCPUs for which `runs` is true go on, and keeps the others where they are.
    fn resume(&self, runs: &dyn Fn(VcpuId) -> bool);

    /// Does `work` on the thread of `vcpu`, out of the guest; `None` where there is no such vCPU, or no
    /// more.
    fn visit<T: Send + 'static>(
        &self,
        vcpu: VcpuId,
        work: impl Fn(&mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Option<T>;

    /// Ends the run.
    fn stop(&self);
}
