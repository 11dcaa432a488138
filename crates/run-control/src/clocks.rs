//! The clocks of a machine, which stand still while it is paused, or catch up.

use std::fmt;
use std::sync::Arc;

use vmmkit_host_io::Stopwatch;
use vmmkit_hypervisor::GuestClock;

use crate::ClockPolicy;

/// The hypervisor's clocks and the machine's own.
#[derive(Default)]
pub struct Clocks {
    hypervisor: Option<Arc<dyn GuestClock>>,
    machine: Arc<Stopwatch>,
}

impl Clocks {
    /// Both, which are stopped and started together.
    pub fn new(hypervisor: Arc<dyn GuestClock>, machine: Arc<Stopwatch>) -> Self {
        Self {
            hypervisor: Some(hypervisor),
            machine,
        }
    }

    /// No vCPU runs any more. Where the host refuses, the guest sees the gap.
    pub fn stop(&self) {
        self.machine.stop();
        if let Some(clock) = &self.hypervisor {
            let _ = clock.stop();
        }
    }

    /// The vCPUs are about to run.
    pub fn start(&self, policy: ClockPolicy) {
        if policy == ClockPolicy::CatchUp {
            self.hypervisor.iter().for_each(|clock| clock.skip());
            return self.machine.skip();
        }
        if let Some(clock) = &self.hypervisor {
            let _ = clock.start();
        }
        self.machine.start();
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clocks").finish_non_exhaustive()
    }
}
