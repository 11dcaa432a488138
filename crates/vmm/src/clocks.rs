//! The clocks of a machine, which stand still while it is paused: a guest sees no gap.

use std::sync::Arc;

use vmmkit_host_io::Stopwatch;
use vmmkit_hypervisor::GuestClock;

/// The hypervisor's clocks and the machine's own.
#[derive(Default)]
pub(crate) struct Clocks {
    hypervisor: Option<Arc<dyn GuestClock>>,
    machine: Arc<Stopwatch>,
}

impl Clocks {
    pub(crate) fn new(hypervisor: Arc<dyn GuestClock>, machine: Arc<Stopwatch>) -> Self {
        Self {
            hypervisor: Some(hypervisor),
            machine,
        }
    }

    /// No vCPU runs any more. Where the host refuses, the guest sees the gap.
    pub(crate) fn stop(&self) {
        self.machine.stop();
        if let Some(clock) = &self.hypervisor {
            let _ = clock.stop();
        }
    }

    /// The vCPUs are about to run.
    pub(crate) fn start(&self) {
        if let Some(clock) = &self.hypervisor {
            let _ = clock.start();
        }
        self.machine.start();
    }
}
