//! How a run ended.

use std::any::Any;

use thiserror::Error;
use vmmkit_hypervisor::x86::VcpuDump;
use vmmkit_hypervisor::{FailEntry, InternalError, VcpuId};

/// Why the guest no longer runs: its own doing, or its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The guest powered itself off (ACPI S5).
    PowerOff,
    /// The guest reset itself.
    Reset,
    /// The guest wrote this code to the debug-exit port.
    DebugExit(u8),
    /// A vCPU shut down by a triple fault.
    TripleFault(VcpuId),
    /// The guest's kernel panicked and said so.
    GuestPanic,
    /// The owner of the machine stopped it.
    Stopped,
}

/// How the run ended, before the threads have.
pub type Ending = Result<Outcome, RunError>;

/// A run that ended because the host, the hypervisor or the VMM could not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The hypervisor could not run a vCPU.
    #[error("{vcpu}: the hypervisor cannot run it")]
    Vcpu {
        /// The vCPU.
        vcpu: VcpuId,
        /// The hypervisor's reason.
        #[source]
        source: vmmkit_hypervisor::Error,
    },
    /// The hypervisor gave up on an instruction of the guest.
    #[error("{vcpu}: KVM_EXIT_INTERNAL_ERROR, {error}; {state}{}", hint(.error))]
    InternalError {
        /// The vCPU.
        vcpu: VcpuId,
        /// The hypervisor's error.
        error: Box<InternalError>,
        /// The vCPU's registers.
        state: Box<VcpuDump>,
    },
    /// The hardware refused to enter the guest.
    #[error(
        "{vcpu}: KVM_EXIT_FAIL_ENTRY, hardware reason {:#x} on host CPU {}; {state}",
        .error.reason,
        .error.cpu
    )]
    FailEntry {
        /// The vCPU.
        vcpu: VcpuId,
        /// The hardware's reason.
        error: FailEntry,
        /// The vCPU's registers.
        state: Box<VcpuDump>,
    },
    /// An exit that nothing here answers.
    #[error("{vcpu}: nothing handles exit {number} ({name}); {state}")]
    UnhandledExit {
        /// The vCPU.
        vcpu: VcpuId,
        /// The exit's name.
        name: &'static str,
        /// Its number, where it is known by number only.
        number: u32,
        /// The vCPU's registers.
        state: Box<VcpuDump>,
    },
    /// A thread of the machine panicked: a bug in the VMM or in a device plugged into it.
    #[error("thread {name} panicked: {message}")]
    ThreadPanicked {
        /// The thread's name.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// The guest could not be started anew.
    #[error("the machine cannot be reset")]
    Reset(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The event loop could not go on.
    #[error(transparent)]
    EventLoop(#[from] vmmkit_host_io::EventLoopError),
}

impl RunError {
    /// A thread ended in `panic`, as it was caught.
    pub fn panicked(name: &str, panic: &(dyn Any + Send)) -> Self {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Self::ThreadPanicked {
            name: name.to_owned(),
            message,
        }
    }
}

fn hint(error: &InternalError) -> &'static str {
    // KVM_INTERNAL_ERROR_EMULATION: KVM API, KVM_EXIT_INTERNAL_ERROR.
    match error.suberror {
        1 => "; the host's KVM cannot emulate this instruction",
        _ => "",
    }
}
