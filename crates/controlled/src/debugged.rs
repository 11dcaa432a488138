//! The machine as GDB has it.

use vmmkit_gdb::Debugged;
use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::VcpuState;
use vmmkit_vmm::Handle;

/// A machine under GDB. It is both paused, so that its devices and clocks rest, and held, so that
/// nobody else's `resume` lets it run behind GDB's back.
#[derive(Debug)]
pub struct DebuggedMachine(Handle);

impl DebuggedMachine {
    /// The machine of `handle`.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Debugged for DebuggedMachine {
    fn vcpus(&self) -> u32 {
        self.0.run_control().vcpus()
    }

    fn ram(&self) -> &GuestRam {
        self.0.ram()
    }

    fn halt(&self) {
        self.0.run_control().hold(|_| true);
        self.0.pause();
    }

    fn resume(&self, runs: &dyn Fn(VcpuId) -> bool) {
        self.0.run_control().hold(|vcpu| !runs(vcpu));
        self.0.resume();
    }

    fn visit<T: Send + 'static>(
        &self,
        vcpu: VcpuId,
        work: impl Fn(&mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Option<T> {
        let vcpus = vcpu.0..vcpu.0.saturating_add(1);
        let control = self.0.run_control();
        control.visit(vcpus, move |_, state| work(state)).pop()
    }

    fn stop(&self) {
        self.0.stop();
    }
}
