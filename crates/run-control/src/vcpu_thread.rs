//! The run state as the thread of one vCPU sees it.

use std::fmt;
use std::sync::Arc;

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::{DebugExit, VcpuState};
use vmmkit_telemetry::BootLog;

use crate::slot::Work;
use crate::state::{RESET, RUN};
use crate::{Hardware, Outcome, Supervisor};

/// The run state as the thread of one vCPU has it, for the length of a life.
pub struct VcpuThread<'a> {
    supervisor: &'a Supervisor,
    vcpu: VcpuId,
    hardware: &'a dyn Hardware,
}

impl<'a> VcpuThread<'a> {
    pub(crate) fn new(
        supervisor: &'a Supervisor,
        vcpu: VcpuId,
        hardware: &'a dyn Hardware,
    ) -> Self {
        Self {
            supervisor,
            vcpu,
            hardware,
        }
    }

    /// The vCPU's number.
    pub fn vcpu(&self) -> VcpuId {
        self.vcpu
    }

    /// The log that milestones go to.
    pub fn boot_log(&self) -> &Arc<BootLog> {
        self.supervisor.control().boot_log()
    }

    /// True if the vCPU may enter the guest. To be checked before its first entry and after each kick.
    #[inline]
    pub fn may_run(&self) -> bool {
        self.supervisor.control().core.signal() == RUN
    }

    /// True if the vCPU may not run because its life is over: the run has ended, or the machine is being reset.
    pub fn is_over(&self) -> bool {
        self.supervisor.control().core.signal() >= RESET
    }

    /// Waits until the vCPU may run (`true`) or must end (`false`). It
    /// receives [visits](crate::Control::visit) meanwhile; `state` is the vCPU's.
    pub fn park(&self, state: &mut dyn VcpuState) -> bool {
        let (core, vcpu) = (&self.supervisor.control().core, self.vcpu);
        if core.change(|state| state.park(vcpu)) {
            self.hardware.quiesce(self.supervisor);
        }
        loop {
            let work = core.change_when(
                None,
                |state| state.work(vcpu).is_some(),
                |state, _| match state.work(vcpu) {
                    Some(Work::Visit) => Err(state.take_visit(vcpu)),
                    work => {
                        state.unpark(vcpu);
                        Ok(work == Some(Work::Run))
                    }
                },
            );
            match work {
                Ok(may_run) => return may_run,
                Err(None) => {}
                Err(Some((round, visit))) => {
                    visit(state);
                    core.change(|state| state.visited(round));
                }
            }
        }
    }

    /// The guest did something that ends its run, or whatever the policy says.
    pub fn guest_asks(&self, outcome: Outcome) {
        self.supervisor.control().guest_asks(outcome);
    }

    /// The vCPU stopped for a debugger: the machine is paused, and the debugger told. `false` where there
    /// is none.
    pub fn stop_for_debugger(&self, exit: DebugExit) -> bool {
        let core = &self.supervisor.control().core;
        let debugger = core.change(|state| {
            let debugger = state.debugger.clone()?;
            // Where the run has ended there is nothing to pause.
            let _ = state.request_pause();
            Some(debugger)
        });
        let Some(debugger) = debugger else {
            return false;
        };
        debugger(self.vcpu, exit);
        core.kick_all();
        true
    }
}

impl fmt::Debug for VcpuThread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VcpuThread").field(&self.vcpu).finish()
    }
}
