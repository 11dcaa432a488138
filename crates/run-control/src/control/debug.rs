//! What a debugger has of a machine: it is told where vCPUs stop, and says which of them may go on.

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::DebugExit;

use super::Control;

/// Told of each stop, on the thread of the vCPU.
pub(super) type Debugger = Box<dyn Fn(VcpuId, DebugExit) + Send + Sync>;

impl Control {
    /// Has `debugger` told, on the vCPU's thread, of each stop that it
    /// [asked for](vmmkit_hypervisor::x86::VcpuState::set_guest_debug); it must not wait for anything. There is one
    /// debugger: `false` if there was one before.
    pub fn set_debugger(
        &self,
        debugger: impl Fn(VcpuId, DebugExit) + Send + Sync + 'static,
    ) -> bool {
        self.debugger.set(Box::new(debugger)).is_ok()
    }

    /// The vCPU stopped for a debugger: the machine is paused, and the debugger told. `false` where there
    /// is none.
    pub fn stop_for_debugger(&self, vcpu: VcpuId, exit: DebugExit) -> bool {
        let Some(debugger) = self.debugger.get() else {
            return false;
        };
        let mut phase = self.lock();
        self.request_pause(&mut phase);
        drop(phase);
        debugger(vcpu, exit);
        self.kick_all();
        true
    }

    /// How many vCPUs there are, also before they have threads.
    pub fn vcpus(&self) -> u32 {
        self.kickers().len() as u32
    }

    /// Keeps the vCPUs for which `is_held` is true out of the guest, by number, also when the machine is
    /// resumed, and lets the others go. A reset lets go of all.
    pub fn hold(&self, is_held: impl Fn(VcpuId) -> bool) {
        let mut phase = self.lock();
        phase.held = (0..self.vcpus()).map(|id| is_held(VcpuId(id))).collect();
        self.look_for_work(&mut phase);
        drop(phase);
        self.kick_all();
        self.changed.notify_all();
    }
}
