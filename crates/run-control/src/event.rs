//! Events of a machine, for its subscribers.

use std::sync::Arc;

use vmmkit_hypervisor::VcpuId;

use crate::Outcome;

/// How many events a subscriber of [`Control::events`](crate::Control::events) may fall behind.
pub(crate) const BACKLOG: usize = 256;

/// Something that happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The machine was started; the guest runs unless it was paused before.
    Started,
    /// The guest wrote the first byte of this boot to the serial console.
    ConsoleReady,
    /// A driver of the guest is ready for a paravirtual device.
    DriverReady {
        /// The device's name in the machine: `blk0`.
        device: Arc<str>,
    },
    /// A paravirtual device cannot go on until its driver resets it.
    DeviceFault {
        /// The device's name in the machine.
        device: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The process that serves a paravirtual device is lost; the driver's requests wait.
    DeviceLost {
        /// The device's name in the machine.
        device: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The process that served it is back, and works on the requests that waited.
    DeviceBack {
        /// The device's name in the machine.
        device: Arc<str>,
    },
    /// No vCPU is in the guest any more, and the devices are at rest.
    Paused,
    /// The guest runs again.
    Resumed,
    /// The guest's kernel panicked and said so.
    Panicked,
    /// The guest's kernel panicked and deals with that itself, by a crash kernel.
    CrashLoaded,
    /// A vCPU shut down by a triple fault.
    TripleFault(VcpuId),
    /// The guest starts anew, as after power-on, in the same machine.
    Reset(ResetCause),
    /// The run has ended.
    Ended(Outcome),
    /// The run has ended, as the host, the hypervisor or the VMM could not go on.
    Failed(String),
}

/// Why a guest starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetCause {
    /// It asked for it.
    Guest,
    /// The owner of the machine did.
    Host,
    /// It crashed, and the machine is to reboot then.
    Crash,
}

/// State of a machine, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineState {
    /// It was built, and not started yet.
    Ready,
    /// The guest runs.
    Running,
    /// No vCPU runs, or will before a resume.
    Paused,
    /// The guest crashed in this way, and is kept as it is.
    Crashed(Outcome),
    /// It is made as after power-on, and will start anew.
    Resetting,
    /// The run has ended in this way.
    Ended(Outcome),
    /// The run has ended by a [`RunError`](crate::RunError).
    Failed,
}
