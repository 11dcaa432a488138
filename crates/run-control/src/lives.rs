//! A guest's lives: each begins with new vCPUs, and ends in a reset or with the run.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use vmmkit_host_io::WorkThread;
use vmmkit_hypervisor::Kick;

use crate::{Ending, Supervisor, VcpuThread};

/// The life of one vCPU, on its thread: it runs until [`VcpuThread::is_over`]; `Some` where it is what ends
/// the run. It owns the vCPU, which is gone when it returns.
pub type VcpuBody = Box<dyn FnOnce(&VcpuThread<'_>) -> Option<Ending> + Send>;

/// Every vCPU, ready to run, and what kicks it; both by number.
pub struct Vcpus {
    /// The vCPUs.
    pub bodies: Vec<VcpuBody>,
    /// Their kicks.
    pub kickers: Vec<Arc<dyn Kick>>,
}

impl fmt::Debug for Vcpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vcpus").field(&self.bodies.len()).finish()
    }
}

/// The hardware under the vCPUs of a machine, whatever hypervisor it is on.
pub trait Hardware: Send + Sync {
    /// Brings the machine to its state at power-on, and creates as many vCPUs as it had, which start the guest
    /// anew. No vCPU of the machine is left when it is called.
    ///
    /// # Errors
    /// Why the guest cannot be started anew.
    fn power_on(&self) -> Result<Vcpus, Box<dyn Error + Send + Sync>>;

    /// Brings devices and clocks to rest, if the machine is still paused: a crash has paused it, on the thread of
    /// a vCPU, and no vCPU is in the guest any more.
    fn quiesce(&self, supervisor: &Supervisor);
}

/// Hardware that a thread of its own powers on and brings to rest: the thread of a vCPU makes no VM then.
pub struct OnWorkThread {
    hardware: Arc<dyn Hardware>,
    thread: WorkThread,
}

impl OnWorkThread {
    /// `hardware`, led by `thread`.
    pub fn new(hardware: Arc<dyn Hardware>, thread: WorkThread) -> Self {
        Self { hardware, thread }
    }
}

impl Hardware for OnWorkThread {
    fn power_on(&self) -> Result<Vcpus, Box<dyn Error + Send + Sync>> {
        let hardware = self.hardware.clone();
        self.thread.run(move || hardware.power_on())
    }

    fn quiesce(&self, supervisor: &Supervisor) {
        let (hardware, supervisor) = (self.hardware.clone(), supervisor.clone());
        self.thread.run(move || hardware.quiesce(&supervisor));
    }
}

impl fmt::Debug for OnWorkThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnWorkThread").field(&self.thread).finish()
    }
}

/// The action on a reset that the guest asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnReboot {
    /// It ends the run.
    #[default]
    Exit,
    /// The guest starts anew in the same machine.
    Reboot,
}

/// The time that a guest's clocks show after a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockPolicy {
    /// They go on where they stood: the guest sees no gap, no timer is late, and its date is behind by
    /// the pause.
    #[default]
    Keep,
    /// They went on meanwhile: the date is right again at once. The guest sees that it did not run for
    /// the length of the pause; timers that ran out in it are due together.
    CatchUp,
}

/// The action on a crash of the guest: a triple fault, or a panic of its kernel that it reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCrash {
    /// It ends the run.
    #[default]
    Exit,
    /// The guest starts anew in the same machine.
    Reboot,
    /// The machine is paused and kept as it is, for somebody to look at. After a triple fault it cannot
    /// be resumed, but for a [reset](crate::Control::reset).
    Pause,
}
